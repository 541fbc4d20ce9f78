//! A case as a program has to tell it: the same for all languages.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::emit::checks::{self, Check};
use crate::emit::{NotTold, text};
use crate::scenario::{
    Act, Class, Client, Condition, Cut, Disposition, Facet, Instance, Payload, Scenario, Setting, Sig, Stdio,
    Step, To, Who,
};

/// What `{backlog}` says where nobody says anything else.
const BACKLOG: u32 = 128;
/// Payloads of up to this many bytes stand in the program as they are.
pub(super) const LITERAL_MAX: u64 = 200;

/// A case, ready to be written down in any language.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) case: &'a Case,
    pub(super) setting: &'a Setting,
    pub(super) checks: Vec<Check>,
    pub(super) told: Vec<Told>,
    /// How often all is tried before the bug counts as absent.
    pub(super) tries: u32,
}

/// A step, in words and as a deed.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) words: String,
    pub(super) deed: Deed,
}

/// What is done in a step.
#[derive(Debug)]
pub(super) enum Deed {
    /// A client acts; what it sends, if it sends anything.
    Act(Client, Act, Option<Bytes>),
    /// A signal, which is never [`Sig::Stopping`].
    Signal(Who, Sig),
    /// Waits for it, whether it comes or not.
    Wait(Condition),
    /// Waits for what must come: its failing is the bug.
    Owed(Check),
    Quiet,
    /// Remembers how much there is.
    Mark,
    /// Milliseconds.
    Pause(u64),
    Together(Vec<Deed>),
}

/// Bytes of a client, at their place in its stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bytes {
    pub(super) client: u32,
    pub(super) start: u64,
    pub(super) payload: Payload,
}

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Port,
    Dir,
}

impl Bytes {
    /// The bytes themselves, if they are few.
    pub(super) fn literal(self) -> Option<Vec<u8>> {
        let is_cycle = matches!(self.payload.class, Class::Signs | Class::Words);
        (is_cycle || self.payload.len <= LITERAL_MAX).then(|| {
            let mut bytes = vec![0; usize::try_from(self.payload.len).unwrap_or(0)];
            self.payload.fill(self.client, self.start, 0, &mut bytes);
            bytes
        })
    }

    /// Sizes of the sends, where they are not all the same.
    pub(super) fn sizes(self) -> Vec<u64> {
        let mut at = 0;
        let mut sizes = Vec::new();
        while at < self.payload.len {
            sizes.push(self.payload.piece(at));
            at += self.payload.piece(at);
        }
        sizes
    }
}

impl<'a> Story<'a> {
    /// Of this case.
    pub(super) fn of(case: &'a Case) -> Result<Self, NotTold> {
        let checks = checks::of(&case.clause)?.to_vec();
        let Some((Step::Launch(Instance(0), setting), steps)) = case.scenario.steps.split_first() else {
            return Err(NotTold("the scenario does not begin with the launch of the server".into()));
        };
        told_setting(setting)?;
        if let Some(user) = &case.target.user {
            return Err(NotTold(format!(
                "the server is run as {user}, whom the program would have to become"
            )));
        }
        let mut story = Self { case, setting, checks, told: Vec::new(), tries: 1 };
        if ends_the_server(&case.scenario) {
            story.checks.retain(|check| !matches!(check, Check::Lives | Check::Latecomer));
        }
        let mut streams = BTreeMap::new();
        for step in steps {
            if let Some(deed) = story.deed(step, &mut streams)? {
                story.told.push(Told { words: step.to_string(), deed });
            }
        }
        story.look_at_the_end();
        if story.checks.is_empty() {
            return Err(NotTold(format!(
                "the scenario itself ends the server, so {} is not seen",
                case.clause
            )));
        }
        Ok(story)
    }

    /// Whether the program looks for this.
    pub(super) fn has(&self, check: Check) -> bool {
        self.checks.contains(&check)
    }

    /// What is done in this step, if anything.
    fn deed(&self, step: &Step, streams: &mut BTreeMap<Client, u64>) -> Result<Option<Deed>, NotTold> {
        Ok(Some(match step {
            Step::Do(client, act) => return Ok(told_act(*client, *act, streams)),
            Step::Signal(who, Sig::Stopping) => Deed::Signal(*who, self.stop()),
            Step::Signal(who, sig) => Deed::Signal(*who, *sig),
            Step::Together(steps) => {
                let deeds: Result<Vec<_>, _> = steps.iter().map(|step| self.deed(step, streams)).collect();
                let mut deeds: Vec<Deed> = deeds?.into_iter().flatten().collect();
                match deeds.len() {
                    0 | 1 => return Ok(deeds.pop()),
                    _ => Deed::Together(deeds),
                }
            }
            Step::Await(Condition::Listening(Instance(0))) | Step::Look => return Ok(None),
            Step::Quiet | Step::Await(Condition::Still) => Deed::Quiet,
            Step::Await(condition) => match self.owed(*condition) {
                Some(check) => Deed::Owed(check),
                None => told_condition(step, *condition)?,
            },
            Step::Mark => Deed::Mark,
            Step::Watch(..) | Step::Pause(_) => Deed::Pause(step.takes_ms()),
            Step::Launch(..) | Step::Limit(..) | Step::Occupy(_) | Step::Vacate(_) => {
                return Err(NotTold(format!("\"{step}\" needs sockspec's sandbox")));
            }
        }))
    }

    fn stop(&self) -> Sig {
        if self.case.target.stop == Sig::Stopping { Sig::Term } else { self.case.target.stop }
    }

    /// The check that asks for this condition, if the program makes it.
    fn owed(&self, condition: Condition) -> Option<Check> {
        let check = match condition {
            Condition::NoZombie => Check::Reaped,
            Condition::Back(Facet::Processes) => Check::Processes,
            Condition::Back(Facet::Descriptors) => Check::Descriptors,
            Condition::Back(Facet::Connections) => Check::Connections,
            _ => return None,
        };
        self.has(check).then_some(check)
    }

    /// Adds the looks that follow the last step, unless the scenario has them there.
    fn look_at_the_end(&mut self) {
        let stimulus =
            |told: &Told| matches!(told.deed, Deed::Act(..) | Deed::Signal(..) | Deed::Together(_));
        let last = self.told.iter().rposition(stimulus).map_or(0, |last| last + 1);
        let done = |check: &Check| {
            self.told[last..].iter().any(|told| matches!(&told.deed, Deed::Owed(owed) if owed == check))
        };
        let mut ends: Vec<Check> = self.checks.iter().filter(|check| !done(check)).copied().collect();
        let left = all_left(&self.case.scenario);
        ends.retain(|check| match check {
            Check::Service => false,
            Check::Processes | Check::Descriptors | Check::Connections => left,
            Check::Lives | Check::Reaped | Check::Latecomer => true,
        });
        for check in ends {
            let words = match check {
                Check::Service => continue,
                Check::Lives => "the server must live",
                Check::Reaped => "no zombie may be left",
                Check::Processes => "no more processes may be left than there were",
                Check::Descriptors => "no more descriptors may be left than there were",
                Check::Connections => "no more connections may be left than there were",
                Check::Latecomer => "everybody leaves, and a late client must be served",
            };
            self.told.push(Told { words: words.into(), deed: Deed::Owed(check) });
        }
    }

    /// How much more of it there must be at the end to count, where a program compares with the mark.
    pub(super) fn slack(&self, check: Check) -> usize {
        let scenario = &self.case.scenario;
        let marked = scenario.steps.iter().rposition(|step| *step == Step::Mark).unwrap_or(0);
        let comes = |step: &Step| matches!(step, Step::Do(_, Act::Connect(_) | Act::Dial(_) | Act::Visit(_)));
        let visits = scenario.flat().filter(|(index, step)| *index > marked && comes(step)).count();
        match check {
            // A pool that settles grows by a few; a leak grows with the clients.
            Check::Descriptors => visits.div_ceil(2).max(4) - 1,
            // As many as there were clients at once may be kept for the next ones.
            Check::Processes if self.case.clause.starts_with("reap.") => scenario.clients().len(),
            _ => 0,
        }
    }

    /// What the mark remembers.
    pub(super) fn marked(&self) -> Vec<Facet> {
        let used = |facet: &Facet| {
            self.told.iter().any(|told| match told.deed {
                Deed::Wait(Condition::Back(waited)) => waited == *facet,
                Deed::Owed(Check::Processes) => *facet == Facet::Processes,
                Deed::Owed(Check::Descriptors) => *facet == Facet::Descriptors,
                Deed::Owed(Check::Connections) => *facet == Facet::Connections,
                _ => false,
            })
        };
        [Facet::Processes, Facet::Descriptors, Facet::Connections].into_iter().filter(used).collect()
    }

    /// The arguments.
    pub(super) fn arguments(&self) -> Vec<Vec<Part>> {
        self.case.target.argv.iter().map(|argument| self.filled(argument)).collect()
    }

    /// What is added to the environment.
    pub(super) fn environment(&self) -> Vec<(String, Vec<Part>)> {
        let mut all: BTreeMap<&str, Vec<Part>> = BTreeMap::new();
        all.insert("PORT", vec![Part::Port]);
        all.insert("HOST", vec![Part::Text(self.case.target.addr.to_string())]);
        let more = self.setting.env.iter().map(|(name, value)| (name, value));
        for (name, value) in self.case.target.env.iter().chain(more) {
            all.insert(name, self.filled(value));
        }
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Whether the command wants a directory.
    pub(super) fn wants_dir(&self) -> bool {
        self.case.target.takes("{dir}")
    }

    /// Where clients connect to.
    pub(super) fn host(&self) -> String {
        let addr = self.case.target.addr;
        match (addr.is_unspecified(), addr.is_ipv6()) {
            (true, true) => "::1".into(),
            (true, false) => "127.0.0.1".into(),
            (false, _) => addr.to_string(),
        }
    }

    /// Replaces every placeholder; those that are known stay text.
    fn filled(&self, text: &str) -> Vec<Part> {
        let target = &self.case.target;
        let backlog = self.setting.backlog.or(target.backlog).unwrap_or(BACKLOG);
        let known = [("{addr}", target.addr.to_string()), ("{backlog}", backlog.to_string())];
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let part =
                [("{port}", Part::Port), ("{dir}", Part::Dir)].into_iter().find(|(n, _)| rest.starts_with(n));
            if let Some((name, part)) = part {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(part);
                rest = &rest[name.len()..];
            } else if let Some((name, value)) = known.iter().find(|(name, _)| rest.starts_with(name)) {
                plain += value;
                rest = &rest[name.len()..];
            } else {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        parts
    }

    /// What the program says when it has not seen the bug.
    pub(super) fn absent(&self) -> &'static str {
        if self.tries == 1 { "The bug is not there." } else { "Not this time." }
    }

    /// What stands at the top of the program, line by line; `needs` says what it takes to run it.
    pub(super) fn heading(&self, needs: &str) -> Vec<String> {
        let Case { clause, evidence, rate, found, .. } = self.case;
        let clauses = || crate::spec::catalogue();
        let requirement = clauses().find(|known| known.id.0 == clause).map_or("", |known| known.requirement);
        let mut lines = text::prose(&format!("{clause}: {requirement}"));
        lines.push(String::new());
        lines.extend(text::prose(&format!("Expected: {}.", evidence.expected)));
        lines.extend(text::prose(&format!("Seen: {}, in {} of {} runs.", evidence.observed, rate.0, rate.1)));
        lines
            .push("Exit status: 1 if the bug is there, 0 if not, 2 if the server cannot be launched.".into());
        lines
            .extend(text::prose(&format!("Written by sockspec {}; needs Linux and {needs}.", found.version)));
        lines
    }
}

/// Refuses what only the sandbox can arrange.
fn told_setting(setting: &Setting) -> Result<(), NotTold> {
    let Setting { backlog, env, .. } = setting;
    let told = Setting { backlog: *backlog, env: env.clone(), ..Setting::default() };
    debug_assert!(told.stdio == Stdio::Kept && told.sigchld == Disposition::Default);
    if *setting == told {
        Ok(())
    } else {
        Err(NotTold(format!("\"launch the server{setting}\" needs sockspec's sandbox")))
    }
}

fn told_condition(step: &Step, condition: Condition) -> Result<Deed, NotTold> {
    match condition {
        Condition::Announced(_)
        | Condition::Listening(_)
        | Condition::Exited(Instance(1..))
        | Condition::Gone(Instance(1..)) => {
            Err(NotTold(format!("\"{step}\" has no words outside of sockspec")))
        }
        _ => Ok(Deed::Wait(condition)),
    }
}

/// What the client does; nothing where it is not connected. Counts what it sends.
fn told_act(client: Client, act: Act, streams: &mut BTreeMap<Client, u64>) -> Option<Deed> {
    match act {
        Act::Connect(_) | Act::Dial(_) | Act::Visit(_) => {
            streams.insert(client, 0);
        }
        Act::ReceiveBuffer(_) | Act::SendBuffer(_) => {}
        _ if !streams.contains_key(&client) => return None,
        _ => {}
    }
    let payload = match act {
        Act::Send(payload) | Act::Exchange(payload) | Act::Visit(payload) => Some(payload),
        // One by one, unless it is cut otherwise: each byte is answered before the next.
        Act::PingPong(payload) if payload.cut == Cut::Whole => Some(payload.cut(Cut::Every(1))),
        Act::PingPong(payload) => Some(payload),
        Act::Stall { max } => Some(Payload::of(max)),
        _ => None,
    };
    let start = streams.get(&client).copied().unwrap_or(0);
    let bytes = payload.map(|payload| Bytes { client: client.0, start, payload });
    if let (Some(payload), Some(sent)) = (payload, streams.get_mut(&client)) {
        *sent += payload.len;
    }
    if matches!(act, Act::Close | Act::Reset | Act::Visit(_)) {
        streams.remove(&client);
    }
    Some(Deed::Act(client, act, bytes))
}

/// Whether the scenario sends the server itself a signal of which it may die.
fn ends_the_server(scenario: &Scenario) -> bool {
    scenario.flat().any(|(_, step)| match step {
        Step::Signal(Who::Launched(_) | Who::Acceptor(_) | Who::Tree(_), sig) => {
            !matches!(sig, Sig::Stop | Sig::Cont | Sig::Chld | Sig::Winch | Sig::Urg)
        }
        _ => false,
    })
}

/// Whether every client has left in the end.
fn all_left(scenario: &Scenario) -> bool {
    scenario.clients().iter().all(|client| {
        let acts = scenario.flat().filter_map(|(_, step)| match step {
            Step::Do(other, act) if other == client => Some(act),
            _ => None,
        });
        matches!(acts.last(), Some(Act::Close | Act::Reset | Act::Visit(_)))
    })
}

/// The name of a host to connect to, where it is not the usual one.
pub(super) fn elsewhere(act: Act) -> Option<&'static str> {
    match act {
        Act::Connect(To::OtherLoopback) | Act::Dial(To::OtherLoopback) => Some("127.0.0.2"),
        Act::Connect(To::Ipv6Loopback) | Act::Dial(To::Ipv6Loopback) => Some("::1"),
        _ => None,
    }
}
