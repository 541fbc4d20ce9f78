//! Strategies for the parts of scenarios that can vary: sizes, classes, cuts, counts, orders.

use std::ops::RangeInclusive;

use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::strategy::BoxedStrategy;

use crate::scenario::{Class, Cut, Payload, Scenario, Step};

/// The one scenario with these steps, after a usual launch.
pub fn fixed(steps: impl IntoIterator<Item = Step>) -> BoxedStrategy<Scenario> {
    Just(Scenario::served(steps)).boxed()
}

/// Payloads of so many bytes, of any class, in any cuts: for clauses about bytes. All other clauses use
/// [`Payload::greeting`], so that a server which mangles some bytes fails only where bytes are judged.
pub fn payload(len: RangeInclusive<u64>) -> impl Strategy<Value = Payload> + Clone {
    (len, any::<u16>(), class(), cut()).prop_map(|(len, seed, class, cut)| Payload {
        len,
        seed: u64::from(seed),
        class,
        cut,
    })
}

/// Any class; shrinks towards [`Class::Any`].
pub fn class() -> impl Strategy<Value = Class> + Clone {
    select(Class::ALL.to_vec())
}

/// Any cut that makes no more than some dozen sends; shrinks towards one send.
pub fn cut() -> impl Strategy<Value = Cut> + Clone {
    (0..=16_u32).prop_map(|pieces| if pieces <= 1 { Cut::Whole } else { Cut::Pieces(pieces) })
}

/// Sizes around the places where buffers, pages and segments end, up to `max` bytes.
pub fn edge(max: u64) -> impl Strategy<Value = u64> + Clone {
    let mut sizes: Vec<u64> = (0..=24)
        .flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1])
        .chain([536, 1_000, 1_448, 1_460, 10_000, 21_845, 32_741, 65_483, 65_495, 100_000])
        .filter(|&size| size > 0 && size <= max)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    select(sizes)
}
