//! The catalogue: every clause, one file a family. Nothing here touches the kernel.

use crate::clause::Clause;

pub mod start;
pub mod listen;
pub mod accept;
pub mod echo;
pub mod close;
pub mod fork;
pub mod reap;
pub mod fd;
pub mod limits;
pub mod stop;

/// Every clause, in the order of families and within a family in the order in which they are told.
pub fn catalogue() -> impl Iterator<Item = &'static Clause> {
    FAMILIES.iter().flat_map(|family| family.iter().copied())
}

/// The clause with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Clause> {
    catalogue().find(|clause| clause.id.0 == id)
}

const FAMILIES: &[&[&Clause]] = &[
    start::CLAUSES,
    listen::CLAUSES,
    accept::CLAUSES,
    echo::CLAUSES,
    close::CLAUSES,
    fork::CLAUSES,
    reap::CLAUSES,
    fd::CLAUSES,
    limits::CLAUSES,
    stop::CLAUSES,
];
