//! What is compared with: a program that does nothing, and one that walks a list of
//! rules, as systemd's `SocketBindDeny=` does it.

use std::{os::fd::AsRawFd as _, path::Path};

use anyhow::Result;

use crate::harness::{
    assembler::{
        EXIT, add, add_register, call, copy, from_network_order, load, load_half, set, set_map,
        skip_if, skip_if_below, skip_if_less, skip_unless_equal, store,
    },
    neighbour::{self, Neighbour},
};

/// Programs of ours on a cgroup, until dropped.
pub struct Baseline {
    _links: Vec<Neighbour>,
}

impl Baseline {
    /// A program on each bind that returns 1.
    pub fn empty(cgroup: &Path) -> Result<Self> {
        let links = Neighbour::attach_to_binds(cgroup, &ALLOWING)?;
        Ok(Self {
            _links: links.into(),
        })
    }

    /// The same, and one that sees which port was given.
    pub fn empty_on_both(cgroup: &Path) -> Result<Self> {
        let mut links = Vec::from(Neighbour::attach_to_binds(cgroup, &ALLOWING)?);
        links.extend(Neighbour::attach_to_given(cgroup, &ALLOWING)?);
        Ok(Self { _links: links })
    }

    /// A program on each bind that calls a helper of the kernel, which does next to
    /// nothing, `count` times.
    pub fn calling(cgroup: &Path, count: usize) -> Result<Self> {
        const GET_CURRENT_TASK: i32 = 35;
        let mut program = vec![call(GET_CURRENT_TASK); count];
        program.extend(ALLOWING);
        let links = Neighbour::attach_to_binds(cgroup, &program)?;
        Ok(Self {
            _links: links.into(),
        })
    }

    /// A program on each bind that compares with `rules` rules, of which none holds for
    /// ports from 1024 on.
    pub fn linear(cgroup: &Path, rules: u16) -> Result<Self> {
        let rules: Vec<[u8; 12]> = (1..=rules).map(rule).collect();
        let map = neighbour::array(&rules)?;
        let program = walking(map.as_raw_fd(), rules.len() as i32);
        let links = Neighbour::attach_to_binds(cgroup, &program)?;
        Ok(Self {
            _links: links.into(),
        })
    }
}

const ALLOWING: [u64; 2] = [set(0, 1), EXIT];

/// TCP port `port`, of any family: family, protocol, how many ports, the first of them.
fn rule(port: u16) -> [u8; 12] {
    const TCP: u32 = 6;
    let mut rule = [0; 12];
    rule[4..8].copy_from_slice(&TCP.to_ne_bytes());
    rule[8..10].copy_from_slice(&1u16.to_ne_bytes());
    rule[10..12].copy_from_slice(&port.to_ne_bytes());
    rule
}

/// Refuses what one of the `count` rules in `map` holds for.
fn walking(map: i32, count: i32) -> Vec<u64> {
    // Where things stand in what a bind hook is called with.
    const USER_PORT: i16 = 24;
    const FAMILY: i16 = 28;
    const PROTOCOL: i16 = 36;
    const MAP_LOOKUP_ELEM: i32 = 1;
    let [map, rest_of_map] = set_map(1, map);
    vec![
        copy(6, 1),
        load(8, 6, USER_PORT),
        from_network_order(8),
        load(9, 6, PROTOCOL),
        set(7, 0),
        // For each rule:
        store(10, -4, 7),
        copy(2, 10),
        add(2, -4),
        map,
        rest_of_map,
        call(MAP_LOOKUP_ELEM),
        // There is none: allow.
        skip_if(0, 0, 15),
        // Another family, unless it is for any.
        load(1, 0, 0),
        skip_if(1, 0, 2),
        load(2, 6, FAMILY),
        skip_unless_equal(1, 2, 9),
        // Another protocol, unless it is for any.
        load(1, 0, 4),
        skip_if(1, 0, 1),
        skip_unless_equal(1, 9, 6),
        // Before the first port; not behind the last, unless it is for all: refuse.
        load_half(1, 0, 10),
        skip_if_less(8, 1, 4),
        load_half(2, 0, 8),
        skip_if(2, 0, 6),
        add_register(1, 2),
        skip_if_less(8, 1, 4),
        // The next one.
        add(7, 1),
        skip_if_below(7, count, -22),
        // Allow.
        set(0, 1),
        EXIT,
        // Refuse.
        set(0, 0),
        EXIT,
    ]
}
