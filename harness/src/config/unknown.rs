//! Says what is wrong with the file in its own words, and of an unknown key or value what may have been meant.

/// Below this likeness (0 to 1) a key is no suggestion.
const LIKENESS_MIN: f64 = 0.75;

/// The message of the parser, with the nearest known word where a word is unknown.
pub(super) fn explained(message: &str) -> String {
    let kinds = [("unknown field", "key"), ("unknown variant", "value")];
    let Some((_, kind)) = kinds.into_iter().find(|(theirs, _)| message.starts_with(theirs)) else {
        // The words of serde are not those of TOML.
        let message = message.trim().replace('\n', "; ").replace("expected a map", "expected a table");
        return message.replace("expected a sequence", "expected an array, such as [\"a\", \"b\"]");
    };
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next().unwrap_or_default();
    let known: Vec<&str> = words.collect();
    match nearest(unknown, &known) {
        Some(near) => format!("unknown {kind} `{unknown}`; did you mean `{near}`?"),
        None => format!("unknown {kind} `{unknown}`; known are `{}`", known.join("`, `")),
    }
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let likely = known.iter().map(|it| (strsim::jaro_winkler(word, it), *it));
    let best = likely.filter(|(likeness, _)| *likeness >= LIKENESS_MIN).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, it)| it)
}
