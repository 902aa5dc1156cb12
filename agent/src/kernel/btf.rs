//! Where the running kernel keeps the fields that say who is calling.
//!
//! rustc emits no CO-RE relocations, so the offsets are looked up in the
//! kernel's own type information and handed to the programs as constants.

use std::{fs, path::Path};

use portreeve_common::abi::{FIELDS, Feature, Field, Needed};
use thiserror::Error;

use super::features::Features;

/// The kernel's type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Where the running kernel keeps each of [`FIELDS`], in their order: in bytes, or
/// in bits if the field is one; [`Field::MISSING`] for one that isn't there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets(Vec<u32>);

/// Why the offsets could not be had.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The kernel has no type information.
    #[error(
        "{path}: {source}; portreeve needs a kernel built with CONFIG_DEBUG_INFO_BTF=y and sysfs mounted on /sys"
    )]
    Unreadable {
        /// The file that was tried.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file is not the type information of a kernel like this one.
    #[error("{path} is not type information this agent can read: {what}")]
    Malformed {
        /// The file that was read.
        path: String,
        /// What was wrong with it.
        what: &'static str,
    },
    /// A field that the programs read is not there.
    #[error(
        "this kernel's struct {record} has no field {field}; portreeve can't tell who binds on it"
    )]
    NoField {
        /// Name of the structure.
        record: &'static str,
        /// Name of the field.
        field: &'static str,
    },
}

impl Offsets {
    /// The offsets of the running kernel, which has `features`.
    ///
    /// # Errors
    ///
    /// See [`BtfError`].
    pub fn of_running_kernel(features: Features) -> Result<Self, BtfError> {
        let offsets = Self::of_file(Path::new(VMLINUX))?;
        let mut needed = vec![[Field::CgroupAncestors, Field::NodeParent]];
        if !features.has(Feature::NetnsCookie) {
            needed.extend([Field::NetCommon, Field::NamespaceInode].map(|field| [field; 2]));
        }
        match needed.into_iter().find(|either| !offsets.has_one(*either)) {
            Some([_, field]) => {
                let (record, field) = field.names();
                Err(BtfError::NoField { record, field })
            }
            None => Ok(offsets),
        }
    }

    fn of_file(path: &Path) -> Result<Self, BtfError> {
        let bytes = fs::read(path).map_err(|source| BtfError::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
        let types = Types::parse(&bytes).ok_or_else(|| BtfError::Malformed {
            path: path.display().to_string(),
            what: "the header is wrong or of the other byte order",
        })?;
        let offset = |field: &Field| {
            let (record, name) = field.names();
            let missing = BtfError::NoField {
                record,
                field: name,
            };
            match types.offset(record, name) {
                Some(bits) if field.is_bit() => Ok(bits),
                Some(bits) => Ok(bits / 8),
                None if field.needed() == Needed::Always => Err(missing),
                None => Ok(Field::MISSING),
            }
        };
        FIELDS
            .iter()
            .map(offset)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Structure and name of a field that this kernel hasn't and without which nothing
    /// can be judged at listen.
    pub fn missing_at_listen(&self) -> Option<(&'static str, &'static str)> {
        if !self.has_one([Field::SockCgroupWord, Field::SockCgroup]) {
            return Some(Field::SockCgroup.names());
        }
        self.missing(Needed::AtListen)
    }

    /// Structure and name of a field that this kernel hasn't and without which nobody can
    /// tell what becomes of sockets.
    pub fn missing_to_watch(&self) -> Option<(&'static str, &'static str)> {
        let missing = self.missing(Needed::ToWatch);
        // What says of a listener where it is says it of every socket.
        missing.or_else(|| self.missing(Needed::AtListen))
    }

    fn missing(&self, needed: Needed) -> Option<(&'static str, &'static str)> {
        let mut fields = FIELDS.iter().zip(&self.0);
        let missing =
            fields.find(|(field, offset)| field.needed() == needed && **offset == Field::MISSING);
        missing.map(|(field, _)| field.names())
    }

    /// Whether the kernel has one of two fields that do the same.
    fn has_one(&self, either: [Field; 2]) -> bool {
        either
            .into_iter()
            .any(|field| self.0[field as usize] != Field::MISSING)
    }

    /// The offsets, as the programs take them.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }
}

/// A BTF blob: its types, whose numbers count from 1, and their names.
struct Types<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// One type's header and what follows it.
struct Type<'a> {
    name: u32,
    info: u32,
    size: u32,
    members: &'a [u8],
}

impl Type<'_> {
    const fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }
}

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// Nameless structures inside each other; the kernel has a few at most.
const MAX_NESTING: u32 = 8;
/// Bytes behind the header of each kind (0 to 19): fixed part and part per `vlen`.
const TRAILERS: [(usize, usize); 20] = [
    (0, 0),  // void
    (4, 0),  // int
    (0, 0),  // pointer
    (12, 0), // array
    (0, 12), // struct
    (0, 12), // union
    (0, 8),  // enum
    (0, 0),  // forward
    (0, 0),  // typedef
    (0, 0),  // volatile
    (0, 0),  // const
    (0, 0),  // restrict
    (0, 0),  // function
    (0, 8),  // function prototype
    (4, 0),  // variable
    (0, 12), // data section
    (0, 0),  // float
    (4, 0),  // declaration tag
    (0, 0),  // type tag
    (0, 12), // enum64
];

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let header = u32_at(bytes, 4)? as usize;
        let section = |at: usize| {
            let start = header.checked_add(u32_at(bytes, at)? as usize)?;
            bytes.get(start..start.checked_add(u32_at(bytes, at + 4)? as usize)?)
        };
        let mut rest = section(8)?;
        let types = std::iter::from_fn(|| {
            let (name, info, size) = (u32_at(rest, 0)?, u32_at(rest, 4)?, u32_at(rest, 8)?);
            let (fixed, each) = *TRAILERS.get((info >> 24 & 0x1f) as usize)?;
            let length = fixed + each * (info & 0xffff) as usize;
            let members = rest.get(12..12 + length)?;
            rest = &rest[12 + length..];
            Some(Type {
                name,
                info,
                size,
                members,
            })
        });
        Some(Self {
            types: types.collect(),
            strings: section(16)?,
        })
    }

    fn name_is(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Offset in bits of `field`, a member of `struct record` or of a nameless
    /// structure or union inside it.
    fn offset(&self, record: &str, field: &str) -> Option<u32> {
        let record = self.types.iter().find(|kind| {
            // A size tells the definition from a forward declaration of that name.
            kind.kind() == KIND_STRUCT && kind.size > 0 && self.name_is(kind.name, record)
        })?;
        self.offset_in(record, field, MAX_NESTING)
    }

    fn offset_in(&self, record: &Type<'_>, field: &str, nesting: u32) -> Option<u32> {
        let has_bitfields = record.info >> 31 == 1;
        let members = record.members.chunks_exact(12);
        let members = members.filter_map(|member| {
            let bits = u32_at(member, 8)?;
            let bits = if has_bitfields {
                bits & 0xff_ffff
            } else {
                bits
            };
            Some((u32_at(member, 0)?, u32_at(member, 4)?, bits))
        });
        let direct = members
            .clone()
            .find_map(|(name, _, bits)| self.name_is(name, field).then_some(bits));
        if direct.is_some() || nesting == 0 {
            return direct;
        }
        members
            .filter(|(name, ..)| self.name_is(*name, ""))
            .find_map(|(_, kind, bits)| {
                let inner = self.types.get(kind.checked_sub(1)? as usize)?;
                let is_record = matches!(inner.kind(), KIND_STRUCT | KIND_UNION);
                let inside = is_record.then(|| self.offset_in(inner, field, nesting - 1));
                Some(bits + inside??)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blob with an int (to be stepped over), then `struct cred { a; euid }`.
    fn blob(kind_flag: bool) -> Vec<u8> {
        let strings = b"\0cred\0a\0euid\0";
        let mut types: Vec<u32> = vec![0, 1 << 24, 4, 0];
        types.extend([
            1,
            (KIND_STRUCT << 24) | 2 | (u32::from(kind_flag) << 31),
            16,
        ]);
        types.extend([6, 1, 0]);
        types.extend([8, 1, if kind_flag { 64 | (8 << 24) } else { 64 }]);
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        with_header(&types, strings)
    }

    fn with_header(types: &[u8], strings: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn finds_a_field_behind_other_types() {
        for kind_flag in [false, true] {
            let bytes = blob(kind_flag);
            let types = Types::parse(&bytes).unwrap();
            assert_eq!(types.offset("cred", "euid"), Some(64));
            assert_eq!(types.offset("cred", "eui"), None);
            assert_eq!(types.offset("cre", "euid"), None);
        }
    }

    /// `struct mm_struct { struct { x; union { y; exe_file } } }` at bits 0, 64 and 32.
    #[test]
    fn finds_a_field_in_nameless_structures() {
        let strings = b"\0mm_struct\0x\0exe_file\0";
        let record = |name, kind, size, members: &[[u32; 3]]| {
            let mut words = vec![name, kind << 24 | members.len() as u32, size];
            words.extend(members.iter().flatten());
            words
        };
        let words = [
            record(1, KIND_STRUCT, 32, &[[0, 2, 64]]),
            record(0, KIND_STRUCT, 24, &[[11, 9, 0], [0, 3, 64]]),
            record(0, KIND_UNION, 16, &[[11, 9, 0], [13, 9, 32]]),
        ];
        let types: Vec<u8> = words
            .iter()
            .flatten()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let bytes = with_header(&types, strings);
        let types = Types::parse(&bytes).unwrap();
        assert_eq!(types.offset("mm_struct", "exe_file"), Some(160));
        assert_eq!(types.offset("mm_struct", "file"), None);
    }

    #[test]
    fn every_truncation_is_survived() {
        let bytes = blob(false);
        for length in 0..bytes.len() {
            if let Some(types) = Types::parse(&bytes[..length]) {
                let _ = types.offset("cred", "euid");
            }
        }
    }

    #[test]
    fn the_running_kernel_has_every_field() {
        if !Path::new(VMLINUX).exists() {
            println!("skipped: this kernel has no {VMLINUX}");
            return;
        }
        let offsets = Offsets::of_running_kernel(Features::ALL).unwrap();
        let of = |field: Field| offsets.as_slice()[field as usize];
        assert!(of(Field::TaskComm) > of(Field::TaskLeader));
        assert!(of(Field::CredEgid) > of(Field::CredEuid));
        assert_eq!(offsets.as_slice().len(), FIELDS.len());
    }
}
