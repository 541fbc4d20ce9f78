//! What clients got back, against what they are owed: their own bytes, once and in order, and the end after them.

use std::fmt::Write as _;
use std::time::Duration;

use crate::scenario::{Act, Client};
use crate::trace::query::{bytes, millis, witness};
use crate::trace::{Acted, Ending, Fate, Span, Trace};
use crate::verdict::Verdict;

impl Trace {
    /// Ends the check unless the client got all that it was owed: every act went as it was meant to, and what came
    /// back is what it sent, in order. Returns the bytes that it got back on its last connection.
    ///
    /// # Errors
    /// A failure, *seen* where bytes are wrong or the connection ended early, *missing* where a deadline passed;
    /// [`Verdict::Inconclusive`] where the client did nothing.
    pub fn served(&self, client: Client) -> Result<u64, Verdict> {
        let mut at = 0;
        let mut acts = 0;
        let mut half_closed = false;
        for acted in self.acts(client) {
            if matches!(acted.act, Act::Connect(_) | Act::Dial(_) | Act::Visit(_)) {
                at = 0;
                half_closed = false;
            }
            half_closed |= acted.act == Act::HalfClose;
            let waits_for_own_end = acted.act == Act::ReadToEnd && acted.fate == Fate::Missed && !half_closed;
            witness(
                !waits_for_own_end,
                format!("{client} waited for an end without having ended its own half"),
            )?;
            acts += 1;
            at = self.act_served(acted, at).map_err(|verdict| match verdict {
                Verdict::Fail(_) if self.was_bereaved(acted) => {
                    Verdict::Inconclusive(format!("the process that served {client} was killed"))
                }
                other => other,
            })?;
        }
        witness(acts > 0, format!("{client} did nothing"))?;
        Ok(at)
    }

    /// The same for several clients. Returns the bytes of all.
    ///
    /// # Errors
    /// As [`Trace::served`], of the first client that was not served; how many were is added to what was observed.
    pub fn all_served(&self, clients: &[Client]) -> Result<u64, Verdict> {
        let results: Vec<_> = clients.iter().map(|&client| self.served(client)).collect();
        let served = results.iter().filter(|result| result.is_ok()).count();
        let mut bytes = 0;
        for result in results {
            bytes += result.map_err(|verdict| match verdict {
                Verdict::Fail(mut evidence) if clients.len() > 1 => {
                    let _ = write!(evidence.observed, " ({served} of {} clients served)", clients.len());
                    Verdict::Fail(evidence)
                }
                other => other,
            })?;
        }
        Ok(bytes)
    }

    /// For how long there was nothing in an act: not long where much had been waited for in vain before.
    pub(crate) fn in_vain(&self, acted: &Acted) -> String {
        let is_short = Duration::from_micros(acted.longest_us) < self.circumstances.limits.reply_within / 2;
        let before = if is_short { ", after longer waits in vain" } else { "" };
        format!("{}{before}", millis(acted.longest_us))
    }

    /// What came back in one act, judged: `at` is the position in the client's stream before it. Returns the position
    /// after it.
    fn act_served(&self, acted: &Acted, at: u64) -> Result<u64, Verdict> {
        let client = acted.client;
        let at = own_bytes(acted, at)?;
        let owed = format!("{client} gets back the {} it sent", bytes(acted.sent));
        let got = format!("{} of {} came back", acted.received, bytes(acted.sent));
        match &acted.fate {
            Fate::Done | Fate::Stalled | Fate::Pending => {}
            Fate::Missed if acted.local.is_none() || matches!(acted.act, Act::Connect(_) | Act::Join) => {
                return Err(Verdict::missing(
                    format!("{client} is connected"),
                    format!("no connection after {}", millis(acted.took_us)),
                ));
            }
            Fate::Missed
                if matches!(acted.act, Act::ReadToEnd | Act::Visit(_)) && acted.received == acted.sent =>
            {
                return Err(Verdict::missing(
                    format!("{client} reads end of file after its own bytes"),
                    format!("{got}, then no end of file for {}", self.in_vain(acted)),
                ));
            }
            Fate::Missed => {
                return Err(Verdict::missing(
                    owed,
                    format!("{got}, then nothing for {}", self.in_vain(acted)),
                ));
            }
            Fate::Refused(errno) => {
                return Err(Verdict::seen(format!("{client} is connected"), format!("{errno} for {client}")));
            }
            Fate::Ended => {
                let how = ended(acted.ending);
                return Err(Verdict::seen(owed, format!("{got}, then {how}")));
            }
            Fate::Unconnected => return Err(Verdict::Inconclusive(format!("{client} had no connection"))),
        }
        if acted.ending == Some(Ending::Reset) && !matches!(acted.act, Act::Close | Act::Reset) {
            return Err(Verdict::seen(owed, format!("{got}, then {}", ended(acted.ending))));
        }
        if acted.ending == Some(Ending::Eof) && acted.received < acted.sent && acted.fate != Fate::Stalled {
            return Err(Verdict::seen(owed, format!("{got}, then {}", ended(acted.ending))));
        }
        Ok(at)
    }
}

/// Ends the check if anything but the client's own bytes, in order, came back in this act.
///
/// # Errors
/// A failure, *seen*, that names the first wrong run of bytes.
pub fn own_bytes(acted: &Acted, mut at: u64) -> Result<u64, Verdict> {
    let client = acted.client;
    let expected = format!("{client} gets back its own bytes, once and in order");
    for span in &acted.spans {
        let wrong = match span {
            Span::Own { offset, len } if *offset == at => {
                at += len;
                continue;
            }
            Span::Own { offset, len } if *offset > at => {
                format!(
                    "{} missing at position {at}, then {} from position {offset}",
                    bytes(offset - at),
                    bytes(*len)
                )
            }
            Span::Own { offset, len } => {
                format!("{} from position {offset} again, where position {at} was due", bytes(*len))
            }
            Span::Other { client: other, offset, len } => {
                format!("at position {at}: {} that {other} sent (its position {offset})", bytes(*len))
            }
            Span::Alien { len, first } => {
                format!("at position {at}: {} that nobody sent: \"{}\"", bytes(*len), first.escape_ascii())
            }
        };
        return Err(Verdict::seen(expected, wrong));
    }
    Ok(at)
}

fn ended(ending: Option<Ending>) -> &'static str {
    match ending {
        Some(Ending::Eof) => "end of file",
        Some(Ending::Reset) => "a reset (ECONNRESET)",
        None => "nothing more",
    }
}
