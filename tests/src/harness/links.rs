//! Network devices and addresses, by netlink: `ip` isn't installed everywhere.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd as _,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use serde::{Deserialize, Serialize};

use super::endpoints::attribute;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
/// `NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE`
const CREATE: u16 = 0x605;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_PORT: u16 = 15;
const RTA_DST: u16 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// It is the host's at once, without asking around.
const IFA_F_NODAD: u8 = 2;
/// The index of the loopback, in every network namespace.
const LOOPBACK: u32 = 1;

/// A network device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Link {
    /// One of a pair.
    Veth,
    /// A tunnel, whose kernel end binds this UDP port.
    Vxlan(u16),
}

/// Makes a device in the calling thread's network namespace and raises it.
pub fn add(link: &Link, name: &str) -> Result<(), Errno> {
    let info = match link {
        Link::Veth => attribute(IFLA_INFO_KIND, b"veth"),
        Link::Vxlan(port) => {
            let data = [
                attribute(IFLA_VXLAN_ID, &42_u32.to_ne_bytes()),
                attribute(IFLA_VXLAN_PORT, &port.to_be_bytes()),
            ];
            let kind = attribute(IFLA_INFO_KIND, b"vxlan");
            [kind, attribute(IFLA_INFO_DATA, &data.concat())].concat()
        }
    };
    // Family, type and index are the kernel's to say; flags, and which of them.
    let mut body = vec![0; 8];
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(attribute(IFLA_IFNAME, format!("{name}\0").as_bytes()));
    body.extend(attribute(IFLA_LINKINFO, &info));
    ask(RTM_NEWLINK, &body)
}

/// Gives the loopback of the calling thread's network namespace one more address.
pub fn add_address(address: impl Into<IpAddr>) -> Result<(), Errno> {
    let (family, length, octets) = match address.into() {
        IpAddr::V4(address) => (AddressFamily::Inet, 32, address.octets().to_vec()),
        IpAddr::V6(address) => (AddressFamily::Inet6, 128, address.octets().to_vec()),
    };
    let mut body = vec![family as u8, length, IFA_F_NODAD, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    body.extend(attribute(IFA_LOCAL, &octets));
    body.extend(attribute(IFA_ADDRESS, &octets));
    ask(RTM_NEWADDR, &body)
}

/// A route that leads nowhere, by its number in the kernel.
#[derive(Clone, Copy, Debug)]
pub enum NoWay {
    /// What is sent there is gone.
    Blackhole = 6,
    /// The sender is told that nobody is there.
    Unreachable = 7,
    /// The sender is told that he may not.
    Prohibit = 8,
}

/// Makes a route to one address in the calling thread's network namespace.
pub fn add_route(address: Ipv4Addr, kind: NoWay) -> Result<(), Errno> {
    let family = AddressFamily::Inet as u8;
    // Lengths of destination and source, type of service, table, who made it, scope, type.
    let mut body = vec![
        family,
        32,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        0,
        kind as u8,
    ];
    body.extend([0; 4]);
    body.extend(attribute(RTA_DST, &address.octets()));
    ask(RTM_NEWROUTE, &body)
}

fn ask(kind: u16, body: &[u8]) -> Result<(), Errno> {
    let mut message = Vec::new();
    // The header has 16 bytes; sequence number and sender are not needed.
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(CREATE.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 8192];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // NLMSG_ERROR, which is what an acknowledgement is too.
    match answer.get(16..20) {
        Some(&[a, b, c, d]) if length >= 20 => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            error => Err(Errno::from_raw(-error)),
        },
        _ => Err(Errno::EBADMSG),
    }
}
