//! The same port on another address, of another family, or of nobody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use super::{PORT, repelled};
use crate::{
    harness::{
        Sandbox, Want, links,
        servant::SocketOption::{FreeBind, Transparent},
        tcp, udp,
    },
    tests,
};

tests![
    every_address_and_family,
    a_secondary_address,
    a_name_without_a_family,
    an_address_that_is_not_the_hosts,
    a_multicast_or_broadcast_address,
];

const BOTH: [fn(u16) -> Want; 2] = [tcp, udp];

/// `PRT-47`: IPv4, IPv6, v4-mapped, both at once, IPv6 beside IPv4, the wildcards:
/// one reservation.
fn every_address_and_family(s: &Sandbox) -> Result<()> {
    let wants = |want: fn(u16) -> Want| {
        [
            want(PORT),
            want(PORT).on(Ipv4Addr::UNSPECIFIED),
            want(PORT).on(Ipv4Addr::new(127, 1, 2, 3)),
            want(PORT).on(Ipv6Addr::LOCALHOST),
            want(PORT).on(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
            want(PORT).on(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()),
            want(PORT).on_any_v6(false),
            want(PORT).on_any_v6(true),
        ]
    };
    repelled(s, BOTH.into_iter().flat_map(wants)).map(drop)
}

/// Addresses that the host has been given besides.
fn a_secondary_address(s: &Sandbox) -> Result<()> {
    let v4 = Ipv4Addr::new(10, 77, 0, 1);
    let v6: Ipv6Addr = "fd00::77".parse()?;
    links::add_address(v4).context("another IPv4 address")?;
    links::add_address(v6).context("another IPv6 address")?;
    let addresses: [IpAddr; 3] = [v4.into(), v6.into(), v4.to_ipv6_mapped().into()];
    let wants = BOTH
        .into_iter()
        .flat_map(|want| addresses.map(|address| want(PORT).on(address)));
    repelled(s, wants).map(drop)
}

/// `AF_UNSPEC` and 0.0.0.0: Linux takes it for IPv4.
fn a_name_without_a_family(s: &Sandbox) -> Result<()> {
    repelled(s, BOTH.map(|want| want(PORT).without_family())).map(drop)
}

/// `IP_FREEBIND` and `IP_TRANSPARENT`: the port on an address of somebody else's.
fn an_address_that_is_not_the_hosts(s: &Sandbox) -> Result<()> {
    let v4 = Ipv4Addr::new(192, 0, 2, 7);
    let v6: Ipv6Addr = "2001:db8::7".parse()?;
    let wants = BOTH.into_iter().flat_map(|want| {
        [FreeBind, Transparent].into_iter().flat_map(move |option| {
            let wants = [want(PORT).on(v4), want(PORT).on(v6)];
            wants.map(|want| want.with(option, 1))
        })
    });
    repelled(s, wants).map(drop)
}

/// UDP on an address that many hosts have.
fn a_multicast_or_broadcast_address(s: &Sandbox) -> Result<()> {
    let addresses: [IpAddr; 4] = [
        Ipv4Addr::BROADCAST.into(),
        Ipv4Addr::new(127, 255, 255, 255).into(),
        Ipv4Addr::new(224, 0, 0, 251).into(),
        "ff0e::fb".parse()?,
    ];
    repelled(s, addresses.map(|address| udp(PORT).on(address))).map(drop)
}
