//! Sockets that are passed on, and packets that are overheard.

use std::{
    io::IoSlice,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
        bind, recvmsg, sendmsg, socket,
    },
};

/// Which every packet of IPv4 has.
const ETH_P_IP: u16 = 0x0800;

fn mail_socket() -> Result<OwnedFd, Errno> {
    socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// A place in this network namespace to which sockets can be passed.
pub fn open_mailbox(name: &str) -> Result<OwnedFd, Errno> {
    let mailbox = mail_socket()?;
    bind(
        mailbox.as_raw_fd(),
        &UnixAddr::new_abstract(name.as_bytes())?,
    )?;
    Ok(mailbox)
}

/// Passes a socket on to the mailbox of this name, if that has room: nobody waits for each
/// other.
pub fn pass(passed: RawFd, name: &str) -> Result<(), Errno> {
    sendmsg(
        mail_socket()?.as_raw_fd(),
        &[IoSlice::new(b"!")],
        &[ControlMessage::ScmRights(&[passed])],
        MsgFlags::MSG_DONTWAIT,
        Some(&UnixAddr::new_abstract(name.as_bytes())?),
    )
    .map(drop)
}

/// Takes a socket out of a mailbox.
pub fn fetch(mailbox: RawFd) -> Result<OwnedFd, Errno> {
    let mut byte = [0];
    let mut buffers = [std::io::IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(mailbox, &mut buffers, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(sockets) = control
            && let Some(&socket) = sockets.first()
        {
            // SAFETY: the kernel made this descriptor for us; nobody else has it.
            return Ok(unsafe { OwnedFd::from_raw_fd(socket) });
        }
    }
    Err(Errno::ENODATA)
}

/// A socket that sees all packets of IPv4 in this network namespace.
pub fn open_packet() -> Result<OwnedFd, Errno> {
    let form = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes three numbers.
    let socket =
        unsafe { libc::socket(libc::AF_PACKET, form, libc::c_int::from(ETH_P_IP.to_be())) };
    let socket = Errno::result(socket)?;
    // SAFETY: the kernel made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// The byte in a UDP datagram of one byte to `port`, among what a packet socket sees.
pub fn overhear(socket: RawFd, port: u16) -> Result<u8, Errno> {
    /// An IPv4 header without options, a UDP header, a byte.
    const LENGTH: usize = 20 + 8 + 1;
    loop {
        let mut packet = [0u8; 256];
        // SAFETY: no more is written than `packet` has.
        let length = unsafe { libc::recv(socket, packet.as_mut_ptr().cast(), packet.len(), 0) };
        let length = Errno::result(length)?;
        let is_udp = packet[9] == libc::IPPROTO_UDP as u8;
        let to = u16::from_be_bytes([packet[22], packet[23]]);
        if length.cast_unsigned() >= LENGTH && is_udp && to == port {
            return Ok(packet[LENGTH - 1]);
        }
    }
}
