//! Addresses that can be bound.

use std::net::{IpAddr, UdpSocket};

/// Whether `address` can be bound in the network namespace of the calling thread. An IPv6
/// address that is still looked for elsewhere (duplicate address detection) can't be. The
/// port is the kernel's choice, and given back at once.
pub fn can_be_bound(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_and_no_others() {
        for (address, is_own) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(can_be_bound(address.parse().unwrap()), is_own, "{address}");
        }
    }
}
