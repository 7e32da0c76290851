//! What Reeve reads from a machine: one file each, without IO.
//!
//! `docs/adding-a-collector.md` says how to add one.

use domain::collector::CollectorDef;

pub mod containers;
pub mod disks;
pub mod facts;
pub mod filesystems;
pub mod load;
pub mod memory;
pub mod network;
pub mod processes;

mod linux;

/// All collectors. The facts come first: what a machine can do decides what it is asked.
pub const ALL: &[CollectorDef] = &[
    CollectorDef::of::<facts::FactsCollector>(),
    CollectorDef::of::<load::Load>(),
    CollectorDef::of::<memory::Memory>(),
    CollectorDef::of::<filesystems::Filesystems>(),
    CollectorDef::of::<disks::Disks>(),
    CollectorDef::of::<network::Network>(),
    CollectorDef::of::<processes::Processes>(),
    CollectorDef::of::<containers::Containers>(),
];
