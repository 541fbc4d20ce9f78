//! Finds the clauses that may have been meant by a glob or an id that finds none.

use glob::Pattern;

use crate::clause::{Clause, ClauseId};

/// How many suggestions are made.
const NEAREST_MAX: usize = 3;

/// Below this likeness (0 to 1) an id is no suggestion.
const LIKENESS_MIN: f64 = 0.8;

/// What is wrong with a glob, if it is none.
#[must_use]
pub fn problem(glob: &str) -> Option<String> {
    Pattern::new(glob).err().map(|error| error.msg.to_owned())
}

/// Ids that may have been meant by `word`, best first.
#[must_use]
pub fn nearest(word: &str, catalogue: &[&Clause]) -> Vec<String> {
    let plain: String = word.chars().filter(|c| !"*?[]{}".contains(*c)).collect::<String>().to_lowercase();
    let plain = plain.trim_matches('.');
    if plain.is_empty() {
        return Vec::new();
    }
    let mut likely: Vec<(f64, ClauseId)> = catalogue
        .iter()
        .map(|clause| (likeness(plain, clause.id), clause.id))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    likely.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    likely.into_iter().take(NEAREST_MAX).map(|(_, id)| id.to_string()).collect()
}

/// A part of the id is as good as all of it, and so is the fact without its family.
fn likeness(word: &str, id: ClauseId) -> f64 {
    if word.len() > 2 && id.0.contains(word) {
        return 1.0;
    }
    let fact = id.0.split_once('.').map_or(id.0, |(_, fact)| fact);
    strsim::jaro_winkler(word, id.0).max(strsim::jaro_winkler(word, fact))
}

/// "; did you mean a, b or c?", or a hint at the list where nothing is near.
#[must_use]
pub fn did_you_mean(nearest: &[String]) -> String {
    match nearest {
        [] => "; `sockspec list` prints all".to_owned(),
        [one] => format!("; did you mean {one}?"),
        [first @ .., last] => format!("; did you mean {} or {last}?", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::report::sample;

    #[rstest]
    #[case("reap", "; did you mean reap.every-child?")]
    #[case("reap.every-chlid", "; did you mean reap.every-child?")]
    #[case("every-child", "; did you mean reap.every-child?")]
    #[case("*sibling*", "; did you mean fork.sibling-survives?")]
    #[case("xyzzy", "; `sockspec list` prints all")]
    #[case("?", "; `sockspec list` prints all")]
    fn a_word_that_matches_nothing_finds_its_neighbours(#[case] word: &str, #[case] expected: &str) {
        assert_eq!(did_you_mean(&nearest(word, &sample::catalogue())), expected);
    }

    #[test]
    fn a_bracket_that_is_not_closed_is_no_glob() {
        assert_eq!(problem("reap.*"), None);
        assert!(problem("reap.[").is_some());
    }
}
