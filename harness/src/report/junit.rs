//! The report as JUnit XML: a suite for each family, a test case for each clause that was asked for.
//!
//! Parsers are strict, and a server may write any bytes: what XML 1.0 forbids is made visible, or replaced.

use std::io::{self, Write};
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::finding;
use super::page::clean;
use super::ruling::{Checked, Ruling, details, gist, partial, ruling};
use super::text::verdict;
use crate::outcome::{Outcome, Status};

/// Writes the report on all servers.
///
/// # Errors
/// As the destination.
pub fn print(all: &[Checked], strict: bool, out: &mut dyn Write) -> io::Result<()> {
    let suites: Vec<Suite> = all.iter().flat_map(|checked| suites(checked, strict)).collect();
    let mut xml = Writer::new_with_indent(out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let total = |count: fn(&Suite) -> usize| suites.iter().map(count).sum::<usize>().to_string();
    let spent: Duration = all.iter().map(|checked| checked.report.duration).sum();
    let root = element(
        "testsuites",
        &[
            ("name", "sockspec"),
            ("tests", &total(|suite| suite.cases.len())),
            ("failures", &total(|suite| suite.count("failure"))),
            ("errors", &total(|suite| suite.count("error"))),
            ("time", &seconds(spent)),
        ],
    );
    xml.write_event(Event::Start(root))?;
    for suite in &suites {
        write_suite(&mut xml, suite)?;
    }
    xml.write_event(Event::End(BytesEnd::new("testsuites")))?;
    writeln!(xml.into_inner())
}

struct Suite {
    name: String,
    properties: Vec<(&'static str, String)>,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    took: Duration,
    /// `failure`, `error` or `skipped`, its type and message.
    result: Option<(&'static str, &'static str, String)>,
    text: Vec<String>,
    stderr: Vec<String>,
}

impl Suite {
    fn count(&self, element: &str) -> usize {
        self.cases.iter().filter(|case| case.result.as_ref().is_some_and(|it| it.0 == element)).count()
    }
}

fn suites(checked: &Checked, strict: bool) -> Vec<Suite> {
    let report = &checked.report;
    let properties = vec![
        ("verdict", verdict(report, strict)),
        ("command", report.target.argv.join(" ")),
        ("kernel", report.kernel.clone()),
        ("seed", report.seed.to_string()),
        ("partial", report.interrupted.to_string()),
    ];
    let named = |name: &str| match &checked.name {
        Some(target) => format!("{target}.{name}"),
        None => format!("sockspec.{name}"),
    };
    let mut suites = vec![Suite { name: named("run"), properties, cases: of_run(checked) }];
    for outcome in &report.outcomes {
        if ruling(outcome, strict) == Ruling::Unasked {
            continue;
        }
        let name = named(outcome.clause.id.family());
        let case = case(checked, outcome, strict);
        match suites.iter_mut().find(|suite| suite.name == name) {
            Some(suite) => suite.cases.push(case),
            None => suites.push(Suite { name, properties: Vec::new(), cases: vec![case] }),
        }
    }
    suites
}

/// What is wrong with the run as a whole.
fn of_run(checked: &Checked) -> Vec<Case> {
    let case = |name: &str, result| Case {
        name: name.to_owned(),
        took: Duration::ZERO,
        result,
        text: Vec::new(),
        stderr: Vec::new(),
    };
    let why = partial(&checked.report).map(|why| ("error", "partial", why.to_owned()));
    let mut cases = vec![case("complete", why)];
    for stale in &checked.report.stale {
        cases.push(case("expectation", Some(("failure", "expectation", stale.clone()))));
    }
    cases
}

fn case(checked: &Checked, outcome: &Outcome, strict: bool) -> Case {
    let failed = outcome.finding.status() == Status::Fail;
    let result = match ruling(outcome, strict) {
        Ruling::Pass => None,
        Ruling::Fail => Some(("failure", "must")),
        Ruling::Unknown => Some(("error", "unknown")),
        // A failure here would be red, where the run is green.
        Ruling::Warning => Some(("skipped", "warning")),
        Ruling::Expected => Some(("skipped", "expected")),
        Ruling::Doubt => Some(("skipped", "undecided")),
        Ruling::Skipped | Ruling::Unasked => Some(("skipped", "skipped")),
    };
    Case {
        name: outcome.clause.id.to_string(),
        took: outcome.duration,
        result: result.map(|(element, kind)| (element, kind, gist(outcome))),
        text: if failed { details(&checked.report, outcome) } else { Vec::new() },
        stderr: if failed { finding::stderr(&checked.report, outcome) } else { Vec::new() },
    }
}

fn write_suite(xml: &mut Writer<&mut dyn Write>, suite: &Suite) -> io::Result<()> {
    let spent: Duration = suite.cases.iter().map(|case| case.took).sum();
    let start = element(
        "testsuite",
        &[
            ("name", &suite.name),
            ("tests", &suite.cases.len().to_string()),
            ("failures", &suite.count("failure").to_string()),
            ("errors", &suite.count("error").to_string()),
            ("skipped", &suite.count("skipped").to_string()),
            ("time", &seconds(spent)),
        ],
    );
    xml.write_event(Event::Start(start))?;
    if !suite.properties.is_empty() {
        xml.write_event(Event::Start(BytesStart::new("properties")))?;
        for (name, value) in &suite.properties {
            let property = element("property", &[("name", name), ("value", value)]);
            xml.write_event(Event::Empty(property))?;
        }
        xml.write_event(Event::End(BytesEnd::new("properties")))?;
    }
    for case in &suite.cases {
        write_case(xml, &suite.name, case)?;
    }
    xml.write_event(Event::End(BytesEnd::new("testsuite")))
}

fn write_case(xml: &mut Writer<&mut dyn Write>, suite: &str, case: &Case) -> io::Result<()> {
    let attributes = [("name", case.name.as_str()), ("classname", suite), ("time", &seconds(case.took))];
    let start = element("testcase", &attributes);
    let Some((name, kind, message)) = &case.result else {
        return xml.write_event(Event::Empty(start));
    };
    xml.write_event(Event::Start(start))?;
    let result = element(name, &[("type", kind), ("message", message)]);
    text(xml, result, &case.text)?;
    if !case.stderr.is_empty() {
        text(xml, BytesStart::new("system-err"), &case.stderr)?;
    }
    xml.write_event(Event::End(BytesEnd::new("testcase")))
}

fn text(xml: &mut Writer<&mut dyn Write>, start: BytesStart<'_>, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return xml.write_event(Event::Empty(start));
    }
    let end = start.to_end().into_owned();
    xml.write_event(Event::Start(start))?;
    let lines: Vec<String> = lines.iter().map(|line| allowed(line)).collect();
    xml.write_event(Event::Text(BytesText::new(&lines.join("\n"))))?;
    xml.write_event(Event::End(end))
}

fn element<'a>(name: &'a str, attributes: &[(&str, &str)]) -> BytesStart<'a> {
    let mut element = BytesStart::new(name);
    for (name, value) in attributes {
        element.push_attribute((*name, allowed(value).as_str()));
    }
    element
}

/// One line without what XML 1.0 forbids.
fn allowed(text: &str) -> String {
    clean(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}
