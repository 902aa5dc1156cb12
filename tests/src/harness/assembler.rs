//! Programs of a few instructions, written by hand so that nothing of the product is
//! needed for them.

// Each instruction: operation, registers, offset, number.

/// `return r0`
pub const EXIT: u64 = 0x95;

const fn instruction(operation: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    operation as u64
        | ((from << 4 | to) as u64) << 8
        | (offset.cast_unsigned() as u64) << 16
        | (number.cast_unsigned() as u64) << 32
}

/// `register = number`
pub const fn set(register: u8, number: i32) -> u64 {
    instruction(0xb7, register, 0, 0, number)
}

/// `to = from`
pub const fn copy(to: u8, from: u8) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

/// `register += number`
pub const fn add(register: u8, number: i32) -> u64 {
    instruction(0x07, register, 0, 0, number)
}

/// `to += from`
pub const fn add_register(to: u8, from: u8) -> u64 {
    instruction(0x0f, to, from, 0, 0)
}

/// `register = the 16 bits of it in network order`
pub const fn from_network_order(register: u8) -> u64 {
    instruction(0xdc, register, 0, 0, 16)
}

/// `to = *(u32 *)(from + offset)`
pub const fn load(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x61, to, from, offset, 0)
}

/// `to = *(u16 *)(from + offset)`
pub const fn load_half(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x69, to, from, offset, 0)
}

/// `*(u32 *)(to + offset) = from`
pub const fn store(to: u8, offset: i16, from: u8) -> u64 {
    instruction(0x63, to, from, offset, 0)
}

/// `*(u32 *)(to + offset) = number`
pub const fn store_number(to: u8, offset: i16, number: i32) -> u64 {
    instruction(0x62, to, 0, offset, number)
}

/// `register = map`, the map given by its descriptor: two instructions' room.
pub const fn set_map(register: u8, map: i32) -> [u64; 2] {
    const IS_MAP: u8 = 1;
    [instruction(0x18, register, IS_MAP, 0, map), 0]
}

/// `r0 = helper(r1, ...)`
pub const fn call(helper: i32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}

/// `if register == number, skip`; `skip` counts instructions from the next one.
pub const fn skip_if(register: u8, number: i32, skip: i16) -> u64 {
    instruction(0x15, register, 0, skip, number)
}

/// `if one != other, skip`
pub const fn skip_unless_equal(one: u8, other: u8, skip: i16) -> u64 {
    instruction(0x5d, one, other, skip, 0)
}

/// `if one < other, skip`
pub const fn skip_if_less(one: u8, other: u8, skip: i16) -> u64 {
    instruction(0xad, one, other, skip, 0)
}

/// `if register < number, skip`
pub const fn skip_if_below(register: u8, number: i32, skip: i16) -> u64 {
    instruction(0xa5, register, 0, skip, number)
}
