//! Our helpers, of which a program gets those that it calls, and those that they call.

/// Helpers of one language, in the order in which they must stand.
#[derive(Debug)]
pub(super) struct Library {
    sections: Vec<(&'static str, &'static str)>,
    /// What may follow the name of a helper where it is called.
    after: &'static str,
}

impl Library {
    /// Divides a file of helpers at its markers: lines that begin with `marker`, followed by the name of what comes.
    pub(super) fn of(text: &'static str, marker: &str) -> Self {
        let mut sections = Vec::new();
        let mut rest = text;
        while let Some(at) = find_line(rest, marker) {
            let (name, body) = rest[at + marker.len()..].split_once('\n').unwrap_or_default();
            let end = find_line(body, marker).unwrap_or(body.len());
            sections.push((name.trim(), body[..end].trim_end()));
            rest = &body[end..];
        }
        Self { sections, after: "(" }
    }

    /// The same for a language that calls without parentheses; a call is a word.
    pub(super) fn of_words(text: &'static str, marker: &str) -> Self {
        Self { after: " \n);|", ..Self::of(text, marker) }
    }

    /// Puts another helper in the place of one.
    pub(super) fn replace(&mut self, name: &str, other: &str) {
        let body = self.sections.iter().find(|(known, _)| *known == other).map_or("", |(_, body)| *body);
        self.sections.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, old)| *old = body);
    }

    /// The helpers that are called in `text`, and those that they call.
    pub(super) fn called(&self, text: &str) -> Vec<&'static str> {
        let mut wanted: Vec<bool> = self.sections.iter().map(|(name, _)| self.calls(text, name)).collect();
        while let Some(new) =
            (0..wanted.len()).find(|&index| !wanted[index] && self.is_called(index, &wanted))
        {
            wanted[new] = true;
        }
        self.sections.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|((_, body), _)| *body).collect()
    }

    fn is_called(&self, index: usize, wanted: &[bool]) -> bool {
        let name = self.sections[index].0;
        self.sections.iter().zip(wanted).any(|((_, body), wanted)| *wanted && self.calls(body, name))
    }

    /// Whether the text calls what has this name.
    fn calls(&self, text: &str, name: &str) -> bool {
        let is_call = |line: &str, at: usize| {
            let before = line[..at].chars().next_back();
            let after = line[at + name.len()..].chars().next().unwrap_or('\n');
            !before.is_some_and(|c| c.is_alphanumeric() || "_.\"/$#'".contains(c))
                && self.after.contains(after)
        };
        let code = |line: &&str| !["# ", "// "].iter().any(|comment| line.trim_start().starts_with(comment));
        text.lines().filter(code).any(|line| line.match_indices(name).any(|(at, _)| is_call(line, at)))
    }
}

/// Where the first line begins that starts with `marker`.
fn find_line(text: &str, marker: &str) -> Option<usize> {
    if text.starts_with(marker) { Some(0) } else { text.find(&format!("\n{marker}")).map(|at| at + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_comes_with_what_it_calls() {
        let library =
            Library::of("#: a\ndef a():\n    b()\n\n#: b\ndef b(): pass\n\n#: c\ndef c(): x.a()\n", "#: ");
        assert_eq!(library.called("a()"), ["def a():\n    b()", "def b(): pass"]);
        assert_eq!(library.called("b(1)"), ["def b(): pass"]);
        assert_eq!(library.called("x.a() # a"), [""; 0]);
    }
}
