//! Which launch each process of the target belongs to.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Error;
use crate::observe::proc_dir::ProcDir;
use crate::scenario::Instance;
use crate::target::MARKER;
use crate::trace::Process;

/// What is remembered of the launches.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// Launched, and not seen yet.
    launched: HashMap<i32, Instance>,
    newest: Option<Instance>,
    /// By process id and start time, as of the last look.
    known: HashMap<(i32, u64), Instance>,
}

impl Family {
    /// Says that this process was launched.
    pub(super) fn launched(&mut self, instance: Instance, pid: i32) {
        self.launched.insert(pid, instance);
        self.newest = Some(instance);
    }

    /// Fills in the instance of each process: by memory, by launch, by its ancestors; an orphan that nobody has seen
    /// before by the marker in its environment, else it belongs to the newest launch.
    ///
    /// # Errors
    /// When /proc fails in another way than by the end of the process.
    pub(super) fn name<'p>(
        &mut self,
        processes: &mut [Process],
        dir_of: impl Fn(i32) -> Option<&'p Path>,
    ) -> Result<(), Error> {
        let parents: HashMap<i32, (i32, u64)> =
            processes.iter().map(|process| (process.pid, (process.ppid, process.started))).collect();
        let known = std::mem::take(&mut self.known);
        let mut named: HashMap<i32, Instance> = HashMap::new();
        for (&pid, &(_, started)) in &parents {
            let launched = self.launched.remove(&pid);
            named.extend(known.get(&(pid, started)).copied().or(launched).map(|instance| (pid, instance)));
        }
        // A launched process that a look does not show has ended before it: its pid may be used again.
        self.launched.clear();
        for process in processes {
            let instance = match ancestor(process.pid, &parents, &named) {
                Ok(instance) => instance,
                Err(topmost) => {
                    let marked = dir_of(topmost).map(marker).transpose()?.flatten();
                    marked.or(self.newest).unwrap_or(Instance(0))
                }
            };
            process.instance = instance;
            named.insert(process.pid, instance);
            self.known.insert((process.pid, process.started), instance);
        }
        Ok(())
    }
}

/// The instance of the nearest ancestor (or itself) that has one, else the topmost ancestor that there is.
fn ancestor(
    pid: i32,
    parents: &HashMap<i32, (i32, u64)>,
    named: &HashMap<i32, Instance>,
) -> Result<Instance, i32> {
    let mut at = pid;
    for _ in 0..=parents.len() {
        if let Some(&instance) = named.get(&at) {
            return Ok(instance);
        }
        match parents.get(&at) {
            Some(&(ppid, _)) if parents.contains_key(&ppid) => at = ppid,
            _ => break,
        }
    }
    Err(at)
}

/// What the environment of the process says.
fn marker(dir: &Path) -> Result<Option<Instance>, Error> {
    let Some(dir) = ProcDir::open(dir)?.here() else { return Ok(None) };
    let mut buffer = vec![0; 64 << 10];
    Ok(dir.read("environ", &mut buffer)?.here().and_then(marked))
}

fn marked(environ: &[u8]) -> Option<Instance> {
    environ
        .split(|&byte| byte == 0)
        .filter_map(|variable| variable.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"="))
        .find_map(|value| std::str::from_utf8(value).ok()?.parse().ok().map(Instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, ppid: i32, started: u64) -> Process {
        Process {
            pid,
            ppid,
            instance: Instance(99),
            started,
            state: 'S',
            ended: None,
            comm: String::new(),
            exe: String::new(),
            threads: 1,
            cpu_ns: 0,
            delay_ns: 0,
            vm_kib: 0,
            rss_kib: 0,
            uid: 0,
            ignored: 0,
            caught: 0,
            blocked: 0,
            fds: Vec::new(),
            fds_readable: true,
        }
    }

    fn name(family: &mut Family, mut processes: Vec<Process>) -> Vec<u32> {
        family.name(&mut processes, |_| None).unwrap();
        processes.iter().map(|process| process.instance.0).collect()
    }

    #[test]
    fn descendants_belong_to_the_launch_whatever_their_order() {
        let mut family = Family::default();
        family.launched(Instance(0), 10);
        family.launched(Instance(1), 20);
        let all = vec![
            process(5, 21, 9),
            process(10, 1, 7),
            process(11, 10, 8),
            process(20, 1, 7),
            process(21, 20, 8),
        ];
        assert_eq!(name(&mut family, all), [1, 0, 0, 1, 1]);
    }

    #[test]
    fn an_orphan_is_remembered_and_a_new_one_belongs_to_the_newest_launch() {
        let mut family = Family::default();
        family.launched(Instance(0), 10);
        assert_eq!(name(&mut family, vec![process(10, 1, 7), process(11, 10, 8)]), [0, 0]);
        family.launched(Instance(1), 20);
        assert_eq!(
            name(&mut family, vec![process(11, 1, 8), process(20, 1, 9), process(22, 1, 9)]),
            [0, 1, 1]
        );
    }

    #[test]
    fn a_pid_used_again_is_another_process() {
        let mut family = Family::default();
        family.launched(Instance(0), 10);
        assert_eq!(name(&mut family, vec![process(10, 1, 7)]), [0]);
        family.launched(Instance(1), 20);
        assert_eq!(name(&mut family, vec![process(10, 20, 70), process(20, 1, 60)]), [1, 1]);
    }

    #[test]
    fn a_ring_of_parents_ends() {
        assert_eq!(name(&mut Family::default(), vec![process(2, 3, 1), process(3, 2, 1)]), [0, 0]);
    }

    #[test]
    fn the_marker_is_a_whole_variable() {
        assert_eq!(marked(b"A=1\0SOCKSPEC_INSTANCE=3\0B=2\0"), Some(Instance(3)));
        assert_eq!(marked(b"XSOCKSPEC_INSTANCE=3\0SOCKSPEC_INSTANCES=4\0SOCKSPEC_INSTANCE=x\0"), None);
        assert_eq!(marked(b""), None);
    }
}
