//! The kernel's fields that the programs read.
//!
//! rustc emits no CO-RE relocations, so the agent looks the offsets up in the
//! running kernel's own type information and hands them over as constants.

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $record:literal, $field:literal;)+) => {
        /// A field of a kernel structure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Field {
            $($(#[$doc])* $variant,)+
        }

        /// Every field, in order.
        pub const FIELDS: &[Field] = &[$(Field::$variant,)+];

        impl Field {
            /// The structure and the field, as the kernel calls them.
            pub const fn names(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($record, $field),)+ }
            }
        }
    };
}

fields! {
    /// The thread that is the process.
    TaskLeader = "task_struct", "group_leader";
    /// The thread's name.
    TaskComm = "task_struct", "comm";
    /// Its process.
    TaskProcess = "task_struct", "tgid";
    /// `PF_KTHREAD` and others.
    TaskFlags = "task_struct", "flags";
    /// The effective credentials.
    TaskCred = "task_struct", "cred";
    /// The address space, which knows its executable.
    TaskMm = "task_struct", "mm";
    /// The cgroups it is in, of every hierarchy.
    TaskCgroups = "task_struct", "cgroups";
    /// Open files.
    TaskFiles = "task_struct", "files";
    /// The table of descriptors.
    FilesTable = "files_struct", "fdt";
    /// The descriptors' files.
    TableFiles = "fdtable", "fd";
    /// How many there are.
    TableLength = "fdtable", "max_fds";
    /// Effective user.
    CredEuid = "cred", "euid";
    /// Effective group.
    CredEgid = "cred", "egid";
    /// Supplementary groups.
    CredGroups = "cred", "group_info";
    /// Effective capabilities.
    CredCapabilities = "cred", "cap_effective";
    /// The user namespace they are held in.
    CredUserNs = "cred", "user_ns";
    /// How many groups there are.
    GroupsLength = "group_info", "ngroups";
    /// The groups.
    GroupsIds = "group_info", "gid";
    /// The file that is run.
    MmExe = "mm_struct", "exe_file";
    /// A file's inode.
    FileInode = "file", "f_inode";
    /// Its number.
    InodeNumber = "inode", "i_ino";
    /// What tells it from another inode that had the number before.
    InodeGeneration = "inode", "i_generation";
    /// Its file system.
    InodeSuper = "inode", "i_sb";
    /// The file system's device.
    SuperDevice = "super_block", "s_dev";
    /// The cgroup on the v2 hierarchy.
    CssSetCgroup = "css_set", "dfl_cgrp";
    /// The set of the threaded cgroup's domain: the process's own, whatever its
    /// threads chose.
    CssSetDomain = "css_set", "dom_cset";
    /// How far below the root a cgroup is.
    CgroupLevel = "cgroup", "level";
    /// The cgroups above it, by level. Before Linux 6.1 they are found by
    /// [`Field::NodeParent`].
    CgroupAncestors = "cgroup", "ancestors";
    /// Its directory.
    CgroupNode = "cgroup", "kn";
    /// The directory's name.
    NodeName = "kernfs_node", "name";
    /// The directory's id.
    NodeId = "kernfs_node", "id";
    /// The directory above.
    NodeParent = "kernfs_node", "parent";
    /// A socket's network namespace.
    SockNet = "sock_common", "skc_net";
    /// Whether a socket takes IPv6 only: a bit.
    SockV6Only = "sock_common", "skc_ipv6only";
    /// Whether a socket shares its port with others (`SO_REUSEPORT`): a bit.
    SockReusePort = "sock_common", "skc_reuseport";
    /// The network device that a socket is bound to.
    SockDevice = "sock_common", "skc_bound_dev_if";
    /// What the protocols know of a socket.
    SocketSock = "socket", "sk";
    /// The socket that the file system knows, of what the protocols know.
    SockSocket = "sock", "sk_socket";
    /// Its inode, behind it.
    SocketInode = "socket_alloc", "vfs_inode";
    /// A socket's address family.
    SockFamily = "sock_common", "skc_family";
    /// What a TCP socket is at.
    SockState = "sock_common", "skc_state";
    /// Its port, in host order.
    SockPort = "sock_common", "skc_num";
    /// Its IPv4 address.
    SockAddress4 = "sock_common", "skc_rcv_saddr";
    /// Its IPv6 address.
    SockAddress6 = "sock_common", "skc_v6_rcv_saddr";
    /// Its IP protocol.
    SockProtocol = "sock", "sk_protocol";
    /// What the application chose: a few bits.
    SockLocks = "sock", "sk_userlocks";
    /// What its cgroups are, of every hierarchy.
    SockCgroups = "sock", "sk_cgrp_data";
    /// The one on the v2 hierarchy, in which it was made.
    SockCgroup = "sock_cgroup_data", "cgroup";
    /// The same before Linux 5.15, with bits that say that it isn't known.
    SockCgroupWord = "sock_cgroup_data", "val";
    /// The first of the sockets inside a Multipath TCP socket: the one that is bound.
    MptcpFirst = "mptcp_sock", "first";
    /// What tells a network namespace from every other one.
    NetCookie = "net", "net_cookie";
    /// What a network namespace has in common with others.
    NetCommon = "net", "ns";
    /// A namespace's inode number.
    NamespaceInode = "ns_common", "inum";
    /// The user namespace that owns a network namespace.
    NetUserNs = "net", "user_ns";
    /// The user namespace above.
    UserNsParent = "user_namespace", "parent";
    /// How far below the initial one it is.
    UserNsLevel = "user_namespace", "level";
    /// Who made it.
    UserNsOwner = "user_namespace", "owner";
}

/// What a program can't do without a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Judge at all.
    Always,
    /// Judge at listen.
    AtListen,
    /// Tell what becomes of sockets.
    ToWatch,
    /// Nothing: a kernel without it has no such sockets, or another way.
    Never,
}

impl Field {
    /// The offset of a field that this kernel hasn't.
    pub const MISSING: u32 = u32::MAX;

    /// Whether the offset is counted in bits: the field is one, or several.
    pub const fn is_bit(self) -> bool {
        matches!(
            self,
            Self::SockV6Only | Self::SockReusePort | Self::SockLocks
        )
    }

    /// What it is needed for.
    pub const fn needed(self) -> Needed {
        match self {
            Self::SockAddress6
            | Self::MptcpFirst
            | Self::CgroupAncestors
            | Self::NodeParent
            | Self::SockCgroup
            | Self::SockCgroupWord
            | Self::NetCommon
            | Self::NamespaceInode => Needed::Never,
            Self::SocketSock
            | Self::SockDevice
            | Self::SockFamily
            | Self::SockPort
            | Self::SockAddress4
            | Self::SockProtocol
            | Self::SockLocks
            | Self::SockCgroups
            | Self::NetCookie => Needed::AtListen,
            Self::SockSocket | Self::SocketInode | Self::SockState => Needed::ToWatch,
            _ => Needed::Always,
        }
    }
}
