//! MPTCP's endpoints in the caller's network namespace. For one with a port the kernel
//! listens there; and from 6.18 on they make a thread of the kernel bind a port of our
//! choice.
//!
//! For that a server announces an endpoint; the client's kernel then connects to it from a
//! worker, and binds the new socket to an endpoint that is `laminar`, port included.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

use super::{needs, skip};

/// It is announced to the other side.
pub const SIGNAL: u32 = 1;
/// It is what new connections to announced endpoints begin at.
pub const LAMINAR: u32 = 1 << 5;

/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROLLER: u16 = 16;
/// `CTRL_CMD_GETFAMILY`
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `MPTCP_PM_CMD_ADD_ADDR` and `_SET_LIMITS`.
const ADD: u8 = 1;
const SET_LIMITS: u8 = 5;
const NESTED: u16 = 0x8000;
/// `NLM_F_REQUEST | NLM_F_ACK`
const REQUEST: u16 = 5;
/// Sizes of nlmsghdr and genlmsghdr.
const HEADERS: usize = 20;

/// The endpoints of the calling thread's network namespace.
pub struct Endpoints {
    socket: OwnedFd,
    family: u16,
}

impl Endpoints {
    /// The same as [`Endpoints::open`], where some can be laminar.
    pub fn open_laminar() -> Result<Self> {
        let (text, release) = needs::running()?;
        if release < (6, 18) {
            return Err(skip(format!(
                "Linux {text} has no laminar endpoints, by which a kernel thread binds"
            )));
        }
        Self::open()
    }

    /// Allows connections to have more than one way.
    pub fn open() -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkGeneric,
        )?;
        let mut endpoints = Self {
            socket,
            family: CONTROLLER,
        };
        let answer = endpoints.ask(GET_FAMILY, &attribute(FAMILY_NAME, b"mptcp_pm\0"))?;
        endpoints.family = family(&answer).context("no family mptcp_pm")?;
        let most = 8_u32.to_ne_bytes();
        let limits = [attribute(2, &most), attribute(3, &most)].concat();
        endpoints.ask(SET_LIMITS, &limits)?;
        Ok(endpoints)
    }

    /// Adds one.
    pub fn add(&self, address: Ipv4Addr, port: u16, flags: u32) -> Result<()> {
        let ipv4 = (AddressFamily::Inet as u16).to_ne_bytes();
        let endpoint = [
            attribute(1, &ipv4),
            attribute(3, &address.octets()),
            attribute(5, &port.to_ne_bytes()),
            attribute(6, &flags.to_ne_bytes()),
        ]
        .concat();
        self.ask(ADD, &attribute(1 | NESTED, &endpoint))
            .with_context(|| format!("the endpoint {address}:{port}"))
            .map(drop)
    }

    /// The answer to one request.
    fn ask(&self, command: u8, attributes: &[u8]) -> Result<Vec<u8>> {
        let length = u32::try_from(HEADERS + attributes.len())?;
        let mut message = Vec::new();
        message.extend(length.to_ne_bytes());
        message.extend(self.family.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        // Sequence number, port.
        message.extend([0; 8]);
        // Command, version, reserved.
        message.extend([command, 1, 0, 0]);
        message.extend(attributes);
        let fd = self.socket.as_raw_fd();
        send(fd, &message, MsgFlags::empty())?;
        let mut first = None;
        loop {
            let mut answer = vec![0; 16_384];
            let length = recv(fd, &mut answer, MsgFlags::empty())?;
            answer.truncate(length);
            ensure!(length >= HEADERS, "an answer of {length} bytes");
            // NLMSG_ERROR: the acknowledgement comes last.
            if u16::from_ne_bytes([answer[4], answer[5]]) != 2 {
                first = Some(answer);
                continue;
            }
            let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
            return match error {
                0 => Ok(first.unwrap_or_default()),
                error => Err(Errno::from_raw(-error).into()),
            };
        }
    }
}

/// An attribute of a netlink message.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (4 + value.len()) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The number of the family in the controller's answer.
fn family(answer: &[u8]) -> Option<u16> {
    let mut rest = answer.get(HEADERS..)?;
    loop {
        let word = |at: usize| Some(u16::from_ne_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
        let (length, kind) = (usize::from(word(0)?), word(2)?);
        if kind == FAMILY_ID {
            return word(4);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}
