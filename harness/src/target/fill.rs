//! Arguments and environment of one launch: placeholders filled in.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::command::TargetCommand;
use crate::scenario::Setting;
use crate::target::launch::Fill;

/// What `{backlog}` says where neither the user nor the setting does.
const BACKLOG: u32 = 128;

/// Variables of ours that are no business of the target's begin like this.
const OURS: &str = "SOCKSPEC_WORKER";

/// The variable in the environment of a launched process that says which launch it is; its children inherit it.
pub const MARKER: &str = "SOCKSPEC_INSTANCE";

/// What the placeholders say.
#[derive(Debug)]
pub(super) struct Values {
    port: String,
    addr: String,
    backlog: String,
    dir: OsString,
}

impl Values {
    /// Of this launch.
    pub(super) fn of(command: &TargetCommand, setting: &Setting, fill: &Fill) -> Self {
        Self {
            port: setting.port.clone().unwrap_or_else(|| fill.port.to_string()),
            addr: command.addr.to_string(),
            backlog: setting.backlog.or(command.backlog).unwrap_or(BACKLOG).to_string(),
            dir: fill.dir.clone().into_os_string(),
        }
    }

    /// The arguments, with the program as the first one.
    pub(super) fn arguments(&self, command: &TargetCommand) -> Vec<OsString> {
        command.argv.iter().map(|argument| self.filled(argument)).collect()
    }

    /// The environment: our own, ours for every target, the command's, the setting's; the later one wins.
    pub(super) fn environment(
        &self,
        command: &TargetCommand,
        setting: &Setting,
        fill: &Fill,
    ) -> BTreeMap<OsString, OsString> {
        let mut all: BTreeMap<OsString, OsString> = env::vars_os()
            .filter(|(name, _)| !name.as_encoded_bytes().starts_with(OURS.as_bytes()))
            .collect();
        let mut set = |name: &str, value: OsString| all.insert(name.into(), value);
        set("PORT", self.port.clone().into());
        set("HOST", self.addr.clone().into());
        set("TMPDIR", self.dir.clone());
        set(MARKER, fill.instance.0.to_string().into());
        for (name, value) in command.env.iter().chain(setting.env.iter().map(|(name, value)| (name, value))) {
            set(name, self.filled(value));
        }
        all
    }

    /// Replaces every placeholder, wherever it stands; what is filled in is not searched again.
    fn filled(&self, text: &str) -> OsString {
        let mut filled = OsString::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            filled.push(&rest[..at]);
            rest = &rest[at..];
            let placeholder = self.all().into_iter().find(|(name, _)| rest.starts_with(name));
            let (name, value) = placeholder.unwrap_or(("{", OsStr::new("{")));
            filled.push(value);
            rest = &rest[name.len()..];
        }
        filled.push(rest);
        filled
    }

    fn all(&self) -> [(&'static str, &OsStr); 4] {
        [
            ("{port}", self.port.as_ref()),
            ("{addr}", self.addr.as_ref()),
            ("{backlog}", self.backlog.as_ref()),
            ("{dir}", &self.dir),
        ]
    }
}

/// Makes arguments that name files relative to `cwd` absolute, for a target whose working directory will be gone:
/// `python3 server.py` must still find its program.
pub(super) fn absolute_files(arguments: &mut [OsString], cwd: &Path) {
    for argument in arguments.iter_mut().skip(1) {
        let path = cwd.join(&*argument);
        if !argument.is_empty() && Path::new(&*argument).is_relative() && path.is_file() {
            *argument = path.into_os_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Instance;

    fn command(argv: &[&str]) -> TargetCommand {
        TargetCommand::from_words(argv.iter().copied()).env("A", "{addr}:{port}").env("PORT", "x").backlog(5)
    }

    fn fill() -> Fill {
        Fill { port: 7777, dir: "/d/{port}".into(), instance: Instance(3), descriptors: None, output_kept: 0 }
    }

    #[test]
    fn placeholders_are_filled_in_wherever_they_stand() {
        let values = |setting: Setting| Values::of(&command(&[]), &setting, &fill());
        let check = |text: &str, expected: &str| {
            assert_eq!(values(Setting::default()).filled(text), expected, "{text}");
        };
        check("{port}", "7777");
        check("--listen=tcp://{addr}:{port}/?b={backlog}", "--listen=tcp://127.0.0.1:7777/?b=5");
        check("{dir}/x{dir}", "/d/{port}/x/d/{port}");
        check("{{port}}", "{7777}");
        check("{ports} {Port} {", "{ports} {Port} {");
        check("é{port}é", "é7777é");
        check("", "");
        let varied = Setting { port: Some("abc".to_owned()), backlog: Some(0), ..Setting::default() };
        assert_eq!(values(varied).filled("{port} {backlog}"), "abc 0");
        let undeclared = TargetCommand { backlog: None, ..command(&[]) };
        assert_eq!(Values::of(&undeclared, &Setting::default(), &fill()).filled("{backlog}"), "128");
    }

    #[test]
    fn the_later_word_about_a_variable_wins() {
        let setting = Setting {
            env: vec![("A".to_owned(), "{dir}".to_owned()), ("B".to_owned(), "{port}".to_owned())],
            ..Setting::default()
        };
        let all = Values::of(&command(&[]), &setting, &fill()).environment(&command(&[]), &setting, &fill());
        let value = |name: &str| all[OsStr::new(name)].to_str().unwrap();
        assert_eq!((value("A"), value("B"), value("PORT")), ("/d/{port}", "7777", "x"));
        assert_eq!((value("HOST"), value("TMPDIR"), value(MARKER)), ("127.0.0.1", "/d/{port}", "3"));
        assert_eq!(all.get(OsStr::new("PATH")), env::var_os("PATH").as_ref());
    }

    #[test]
    fn only_arguments_that_name_files_become_absolute() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("server.py"), "").unwrap();
        let mut arguments: Vec<OsString> =
            ["server.py", "server.py", "-x", "", "/bin", "."].map(Into::into).into();
        absolute_files(&mut arguments, dir.path());
        let file = dir.path().join("server.py").into_os_string();
        assert_eq!(
            arguments,
            ["server.py".into(), file, "-x".into(), "".into(), "/bin".into(), OsString::from(".")]
        );
    }
}
