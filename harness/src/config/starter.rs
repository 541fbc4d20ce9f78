//! A first `sockspec.toml`, guessed from what lies in a folder.

use std::fs;
use std::path::Path;

/// What a folder seems to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guess {
    name: String,
    command: Vec<String>,
    /// What to do before, or what the guess rests on.
    remark: String,
}

impl Guess {
    /// Of a folder that tells nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            name: "server".to_owned(),
            command: ["./server", "{port}"].map(str::to_owned).to_vec(),
            remark: "Nothing here says how the server is started: put its command here.".to_owned(),
        }
    }

    /// Looks for a package of Cargo, a Makefile, or a server in Python, in this order.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        cargo(folder).or_else(|| make(folder)).or_else(|| python(folder)).unwrap_or_else(Self::nothing)
    }
}

/// The text of the file.
#[must_use]
pub fn text(guess: &Guess) -> String {
    let command: Vec<String> = guess.command.iter().map(|word| quoted(word)).collect();
    format!(
        "\
# What `sockspec check` does in this folder and below. `sockspec init --schema` prints the JSON Schema of this file.

# Defaults for options of `sockspec check`; the command line overrides them.
[check]
# effort = \"quick\"
# strict = true
# report = [\"junit=sockspec.xml\"]

# {remark}
[[target]]
name = {name}
command = [{command}]
# {{port}}, {{addr}}, {{backlog}} and {{dir}} are filled in; PORT and HOST are in the environment.
# env = {{ LOG = \"debug\" }}
# cwd = \".\"
# backlog = 128
# clients = 20            # the most at once that it is made for
# stop-signal = \"TERM\"
# user = \"nobody\"         # only root can become somebody else
# stop-within = \"10s\"
# ready-within = \"30s\"

# What is known to fail: it fails no run, and is an error as soon as it passes, or after `until`.
# `sockspec check --update-expectations` writes these from three runs that agree.
# [[expect]]
# clause = \"reap.every-child\"
# reason = \"the reaper comes with the rewrite\"
# issue = \"https://example.org/issues/42\"
# until = 2027-06-30
# when = {{ kernel = \">=6.1\", isolation = \"full\", profile = \"fork-per-connection\" }}
",
        remark = guess.remark,
        name = quoted(&guess.name),
        command = command.join(", "),
    )
}

fn quoted(word: &str) -> String {
    toml::Value::from(word).to_string()
}

fn cargo(folder: &Path) -> Option<Guess> {
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).ok()?.parse().ok()?;
    let package = manifest.get("package")?;
    let named = |table: &toml::Value| Some(table.get("name")?.as_str()?.to_owned());
    let first = manifest.get("bin").and_then(|bins| named(bins.get(0)?));
    let name = package.get("default-run").and_then(|name| Some(name.as_str()?.to_owned()));
    let name = name.or(first).or_else(|| named(package))?;
    let words = words_of(folder, &format!("target/release/{name}"), &["src/main.rs"]);
    Some(Guess { name, command: words, remark: "Build it first: cargo build --release".to_owned() })
}

fn make(folder: &Path) -> Option<Guess> {
    let text = ["GNUmakefile", "makefile", "Makefile"]
        .iter()
        .find_map(|name| fs::read_to_string(folder.join(name)).ok())?;
    let rules: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.', ' ']) && !line.contains('='))
        .filter_map(|line| line.split_once(':'))
        .collect();
    let plain = |word: &&str| !word.is_empty() && !word.contains(['$', '%', '.', '/']);
    // `all: server` says what is made; without it the first rule does.
    let of_all = rules.iter().find(|(name, _)| name.trim() == "all");
    let name = of_all.and_then(|(_, needs)| needs.split_whitespace().find(plain));
    let first = rules.iter().map(|(name, _)| name.trim()).filter(|name| *name != "all").find(plain);
    let name = name.or(first)?;
    let sources: Vec<String> = [".c", ".cc", ".cpp"].iter().map(|end| format!("{name}{end}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let command = words_of(folder, &format!("./{name}"), &sources);
    Some(Guess { name: name.to_owned(), command, remark: "Build it first: make".to_owned() })
}

fn python(folder: &Path) -> Option<Guess> {
    let mut files: Vec<String> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".py"))
        .collect();
    files.sort();
    let serves = |name: &&String| {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        ["socket", "asyncio", "twisted"].iter().any(|module| text.contains(&format!("import {module}")))
    };
    let usual = ["server.py", "main.py", "app.py"];
    let name =
        files.iter().find(|name| usual.contains(&name.as_str())).or_else(|| files.iter().find(serves))?;
    let mut command = vec!["python3".to_owned()];
    command.extend(words_of(folder, name, &[name]));
    let remark = format!("Guessed from {name}.");
    Some(Guess { name: name.trim_end_matches(".py").to_owned(), command, remark })
}

/// The program with its port, by an option where the source knows one.
fn words_of(folder: &Path, program: &str, sources: &[&str]) -> Vec<String> {
    let knows =
        |source: &&str| fs::read_to_string(folder.join(source)).is_ok_and(|text| text.contains("--port"));
    let mut words = vec![program.to_owned()];
    words.extend(sources.iter().any(knows).then(|| "--port".to_owned()));
    words.push("{port}".to_owned());
    words
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::config::File;

    #[rstest]
    #[case::cargo(&[("Cargo.toml", "[package]\nname = 'srv'\n"), ("src/main.rs", "\"--port\"")], &["target/release/srv", "--port", "{port}"])]
    #[case::cargo_bin(&[("Cargo.toml", "[package]\nname = 'p'\n[[bin]]\nname = 'echod'\n")], &["target/release/echod", "{port}"])]
    #[case::make(&[("Makefile", "CC = gcc\n.PHONY: all\nall: echo\necho: echo.o\n\tcc\n")], &["./echo", "{port}"])]
    #[case::python(&[("a.py", "print()"), ("serve.py", "import socket")], &["python3", "serve.py", "{port}"])]
    #[case::nothing(&[("README", "")], &["./server", "{port}"])]
    fn the_folder_is_looked_at(#[case] files: &[(&str, &str)], #[case] command: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let guess = Guess::of(dir.path());
        assert_eq!(guess.command, command);
        let file: File = toml::from_str(&text(&guess)).unwrap();
        assert_eq!(file.target[0].command.get_ref(), command);
    }

    #[test]
    fn what_is_commented_out_could_be_used() {
        let text = text(&Guess::nothing());
        let lines = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("[[") || rest.split('=').count() > 1 && !rest.contains('`') => {
                rest
            }
            _ => line,
        });
        let all: Vec<&str> = lines.collect();
        let file: File =
            toml::from_str(&all.join("\n")).unwrap_or_else(|e| panic!("{e}\n{}", all.join("\n")));
        assert_eq!(file.expect.len(), 1);
    }
}
