//! Every diagnostic code, once.
//!
//! Codes are stable: 1xx how it is written, 2xx what it means, 3xx what this
//! product doesn't do yet or can't do here, 4xx the config, 5xx advice.

macro_rules! codes {
    ($($variant:ident = $id:literal, $ibm:expr, $title:literal, $text:literal;)+) => {
        /// What kind of thing a diagnostic reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $title] $variant,)+
        }

        impl Code {
            /// Every code, in the order of the ids.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The stable id, such as `PRV103`.
            pub const fn id(self) -> &'static str {
                match self { $(Code::$variant => $id,)+ }
            }

            /// A few words, without the particulars of one case.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)+ }
            }

            /// A sentence or two on what it means and why it matters.
            pub const fn explanation(self) -> &'static str {
                match self { $(Code::$variant => $text,)+ }
            }

            /// The message that z/OS gives for the same thing, if it is known.
            pub const fn ibm_message(self) -> Option<&'static str> {
                match self { $(Code::$variant => $ibm,)+ }
            }
        }
    };
}

codes! {
    NotUtf8 = "PRV101", None, "the file is not UTF-8 text",
        "Profiles are read as UTF-8. Bytes that aren't are replaced, so a name may differ from what was meant.";
    NulByte = "PRV102", None, "the file holds a NUL byte",
        "Text files hold no NUL bytes; the file is binary, damaged or in another encoding.";
    UnknownStatement = "PRV103", None, "a word that is no statement stands where one must",
        "Every word outside a statement must be the name of one. The word and its operands are dropped, because stepping over a misspelt PORT would leave the port open.";
    MissingOperand = "PRV104", None, "an operand is missing",
        "The entry or statement ends before it is complete and is dropped.";
    BadNumber = "PRV105", None, "a number is wrong or out of its range",
        "Ports are 1 to 65535 and ephemeral ports 1024 to 65535, written in decimal digits.";
    BadProtocol = "PRV106", None, "the protocol is neither TCP nor UDP",
        "Every entry names its protocol; the two have separate tables.";
    BadJobname = "PRV107", None, "a job name is not well formed",
        "A job name starts with a letter or one of @ # $ and goes on with those and digits; * and ? make it a pattern. Up to 15 characters and - _ . : / + are accepted as an extension.";
    BadSafName = "PRV108", None, "a SAF resource name is not well formed",
        "1 to 8 characters: the first a letter or one of $ @ #, the others also digits and hyphens.";
    BadAddress = "PRV109", None, "an address is not well formed or not allowed",
        "BIND takes an IPv4 address in dotted decimal or an IPv6 address in colon hexadecimal, but no IPv4-mapped one.";
    OptionOrder = "PRV110", None, "options are not in their order, or given twice",
        "The options of an entry have a fixed order, and at most one of each group may be given.";
    OptionNotAllowed = "PRV111", None, "an option or keyword is not allowed here",
        "Some options belong to PORT only, some to TCP only; RESERVED and AUTHPORT take none.";
    UnknownOption = "PRV112", None, "a word is neither an option of the entry nor the next entry",
        "The entry is dropped: what the word was meant to ask for is not known.";
    UnterminatedBlock = "PRV113", None, "a block is not ended",
        "A statement such as AUTOLOG runs to its own END statement. Without it the rest of the file is taken as its operands.";
    StrayEnd = "PRV114", None, "an END statement ends nothing",
        "No block of that kind is open.";
    GluedComment = "PRV115", None, "a comment is glued to the word before it",
        "A semicolon starts a comment at the start of a line or after a blank; elsewhere it is part of the word.";
    UnknownSymbol = "PRV116", None, "a system symbol is not defined",
        "Symbols such as &SYSNAME. are replaced before the profile is read.";
    IncludeRefused = "PRV117", None, "an INCLUDE is refused",
        "A file may not include itself, directly or through others, and the number, depth and size of included files are limited.";
    IncludeUnreadable = "PRV118", None, "an included file can't be read",
        "What it says is missing from the policy.";
    BadOperand = "PRV119", None, "an operand of a statement is wrong",
        "The operand is dropped; the statement's others apply.";
    EmptyStatement = "PRV120", None, "a statement has no entries",
        "The statement does nothing; perhaps all its entries are commented out.";
    LooksLikeEntry = "PRV121", None, "something like an access rule stands inside a statement that is stepped over",
        "Statements without a meaning here are stepped over with everything up to the next statement at the start of a line. A rule inside one would be lost.";
    SteppedOver = "PRV122", None, "a statement or operand is stepped over",
        "z/OS has it, but nothing here depends on it.";

    DenyNotStar = "PRV201", Some("EZZ0146I"), "DENY for a job other than *",
        "DENY is for everybody who matches no other entry, so its job name is *. The whole PORT statement is dropped.";
    MixedTiming = "PRV202", Some("EZZ0147I"), "WHENBIND and WHENLISTEN are mixed",
        "All UNRSV entries for TCP are judged at the same moment. The entry that differs from the first is dropped.";
    PortInRange = "PRV203", None, "a port lies in an earlier range",
        "A PORT entry inside a PORTRANGE that came first is dropped.";
    RangeOverPort = "PRV204", None, "a range covers a port that is reserved already",
        "The whole range is dropped, not just the port.";
    RangeOverRange = "PRV205", None, "a range overlaps an earlier one",
        "The later range is dropped as a whole.";
    RangeClipped = "PRV206", None, "a range runs past 65535",
        "The ports up to 65535 are kept.";
    Duplicate = "PRV207", None, "an entry is given twice",
        "The first one stays as it is; to change it, delete it and add it again.";
    SecondUdpJob = "PRV208", None, "a UDP port is reserved for a second job",
        "UDP allows one job name per port; a pattern admits several jobs.";
    ReservedAndOther = "PRV209", None, "a port is RESERVED and given to a job",
        "RESERVED means nobody. The later of the two is dropped.";
    SecondUnreservedStar = "PRV210", None, "a second UNRSV entry for *",
        "Each protocol has at most one UNRSV entry for everybody.";
    NothingToDelete = "PRV211", None, "DELETE finds no such entry",
        "DELETE names an existing entry by port, protocol and job name, a range by first port, count, protocol and job name.";
    TooManyEntries = "PRV212", None, "there are too many entries",
        "The tables in the kernel have a fixed size.";
    TooManyOnPort = "PRV213", None, "there are too many entries for one port",
        "The entries of one port are searched on every bind, so their number is limited.";
    NoEffectHere = "PRV214", None, "an operand has no effect in this statement",
        "RESTRICTLOWPORTS belongs to TCPCONFIG and UDPCONFIG; on IPCONFIG it does nothing.";
    TooManyNames = "PRV215", None, "there are too many different job names",
        "The tables in the kernel have a fixed size, and patterns with an inner * have a smaller one of their own.";

    CommandSyntax = "PRV220", None, "a CL command is not well formed",
        "The commands are ADDTCPPORT and RMVTCPPORT with PORT, PROTOCOL and USRPRF, by keyword or in this order. The command is dropped.";
    UnknownCommand = "PRV221", None, "a CL command is not known",
        "Only ADDTCPPORT and RMVTCPPORT say anything about ports. The command is dropped.";
    BadCommandValue = "PRV222", None, "a value of a CL command is wrong",
        "Ports are 1 to 65535, *ONLY stands for a single one, *ALL for every entry of a user in RMVTCPPORT; the protocol is *TCP or *UDP. The command is dropped.";
    DuplicateRestriction = "PRV223", None, "a port restriction is added twice",
        "The first one stays; one RMVTCPPORT would remove it.";
    NoSuchRestriction = "PRV224", None, "RMVTCPPORT finds no such restriction",
        "A removal names ports, protocol and user exactly as they were added, or *ALL ports of that user. Parts of a range can't be removed.";
    LowPortRestricted = "PRV225", None, "a restriction covers ports below 1024",
        "The servers that have those ports run under users of their own. Whoever is not named can't bind them any more.";
    LowPortsRestricted = "PRV230", Some("EZZ0338I"), "low ports are restricted",
        "A confirmation: ports below 1024 that no entry reserves are for root and for processes with CAP_NET_BIND_SERVICE, in the protocol that is named.";

    UnreservedUnsupported = "PRV301", None, "UNRSV at listen needs the BPF LSM",
        "UNRSV entries for TCP are judged at listen unless they say WHENBIND. Only a security module can do that, and the kernel asks one written in BPF only if it was booted so. Accepting the entry would promise too much.";
    KernelLacks = "PRV305", None, "the policy needs what this kernel lacks",
        "On an older kernel a refusal can't have its own errno, a low port can't be granted, or the options of a socket can't be switched. A policy that needs such a thing is refused as a whole, unless [degraded] accepts that it is enforced without.";
    EphemeralUnsupported = "PRV307", None, "EPHEMERALPORTS can't be enforced here",
        "Linux has one range for both protocols, net.ipv4.ip_local_port_range. It is set if TCPCONFIG and UDPCONFIG say the same range and [ephemeral] manage allows it.";
    BindRangeUnsupported = "PRV308", None, "EXPLICITBINDPORTRANGE is not enforced",
        "It is a second pool, for a sysplex. Linux has one pool for every bind to port 0.";
    SnmpReadOnly = "PRV310", None, "nothing can be written by SNMP",
        "Whoever knows the community of SNMP version 2 could change who may bind which port, and it is sent in clear.";
    AcksShortened = "PRV311", None, "acknowledgements are still delayed, but less",
        "Linux can't send every acknowledgement at once for a program that doesn't ask for it. On the sockets of the entry it delays them by two ticks at most, 8 ms on a kernel with 250 a second. Who may bind is not affected.";
    SmcUnsupported = "PRV312", None, "SMC is not supported",
        "Connections use plain TCP; who may bind is not affected.";
    SnmpOperand = "PRV313", None, "an operand of SACONFIG has no effect",
        "The subagent talks to the host's own SNMP agent by AgentX, which has no passwords; that agent says who may read. There is no OSA adapter. The operand is read and not kept.";
    PoolTooSmall = "PRV320", None, "too few ports are left to hand out",
        "Every reserved port is taken out of the pool that bind to port 0, connect and sendto draw from. When the pool is empty, programs can't connect any more.";
    NoProcedure = "PRV340", None, "a procedure has no unit and no command",
        "AUTOLOG names procedures of z/OS. What one is on this host is for [procs] to say: it is never guessed, and a list that silently starts nothing would be worse than none.";
    NoCondition = "PRV341", None, "DELAYSTART TTLS waits for nothing that is named",
        "Linux has no AT-TLS that could be asked. Started at once, the server would be without the protection that it was to wait for.";
    BadProcedure = "PRV342", None, "a procedure can't be started as the config says",
        "Its PARMSTRING has no place in the unit or command, the unit's name would be too long, two procedures are one unit, or [autolog] backend starts no such thing.";
    NoManager = "PRV343", None, "nothing can start procedures here",
        "A unit takes systemd, and a command an agent that has begun with one. In a pod the kubelet starts and ends programs, and an agent must not do so behind its back.";
    DuplicateProcedure = "PRV344", None, "a procedure is listed twice for one job",
        "The same procedure may be listed again with another JOBNAME. The second of two that are the same is dropped.";

    ConfigInvalid = "PRV401", None, "the config is not valid",
        "The config is TOML with a fixed set of keys; an unknown key is refused, because what it was meant to ask for would not happen.";
    BadJobDefinition = "PRV402", None, "the definition of a job is not right",
        "A definition has a legal job name and at least one of cgroup, exe, comm and user.";
    DuplicateJob = "PRV403", None, "a job is defined twice",
        "Job names ignore case. Alternatives of one job are written as [[jobs.NAME]], once each.";
    UnknownAccount = "PRV404", None, "a user or group does not exist",
        "A name stands for a number that must be known. The name is never taken for nobody or everybody.";
    AccountsUnreadable = "PRV405", None, "users or groups can't be looked up",
        "The system's user database gives no answer, so it is not known whom a name means.";
    BadServAuth = "PRV406", None, "a resource profile is not right",
        "It is named like a RACF profile: qualifiers with dots between, % for a character, * for a qualifier or its rest, ** once for any number of qualifiers.";
    BadRestriction = "PRV407", None, "a port restriction is not right",
        "It has ports, such as 8400 or 8400-8410, a protocol and a list of users. Membership in a group counts for nothing, as on IBM i.";
    TooManyPermits = "PRV408", None, "there are too many permitted users and groups",
        "The tables in the kernel have a fixed size. Every different set of users and groups takes one place for each of them.";
    TooManyJobs = "PRV409", None, "there are too many defined jobs, or too many conditions",
        "The tables in the kernel have a fixed size. Patterns with * take more room than plain names, above all if many of them can match the same cgroup or process name.";
    MissingExe = "PRV410", None, "the executable of a job is not there",
        "A job is recognised by the file itself, wherever links lead to it. Until it exists, nobody is the job by running it.";
    BadAudit = "PRV411", None, "what is to be in audit is not right",
        "[audit] ports lists ports with their protocol, such as tcp/8080 or udp/5000-5010, and unreserved for those that no entry names.";
    NothingToAudit = "PRV412", None, "no rule speaks of what is to be in audit",
        "Perhaps the number is wrong: then what was to be watched only would be enforced, so the policy is refused.";
    BadExpect = "PRV413", None, "what is expected of ports is not right",
        "An [[expect]] has ports with their protocol, such as tcp/21 or udp/5000-5010, and a state, open or closed. Each port is named once.";

    ExtendedJobname = "PRV501", None, "a job name is not one that z/OS allows",
        "More than 8 characters, or one of - _ . : / +. It works here, but the profile can't be used on z/OS.";
    NameOnly = "PRV502", None, "reservations rest on the process name alone",
        "A process chooses its own name. Such a reservation keeps order among servers that mean well; a program that lies about its name gets the port.";
    EphemeralOverlap = "PRV503", None, "reserved ports are among those the kernel hands out",
        "A bind to port 0, a connect or a sendto can be given any port of net.ipv4.ip_local_port_range that net.ipv4.ip_local_reserved_ports doesn't name. Then the rightful server finds its port taken.";
    ReservedSourcePorts = "PRV504", None, "ranges cover the source ports of NFS, RPC and rsh clients",
        "Those clients bind ports from 512 to 1023 one after the other. They go on after 'address in use', but not after 'permission denied'.";
    IkePortsOpen = "PRV505", None, "the ports of the IKE daemon belong to nobody",
        "With IPSECURITY, UDP 500 and 4500 should be reserved for the IKE daemon or be RESERVED.";
    DeleteAtStart = "PRV506", None, "DELETE stands in a profile",
        "DELETE is meant for changes to a policy in force. In a profile the entry itself should go.";
    UncoveredResource = "PRV507", None, "no profile covers a SAF resource",
        "A check was asked for, and there is nothing to check against. The answer is no, for everybody.";
    SameBindAddress = "PRV508", None, "two entries of a port bind the same address",
        "Servers on one port are told apart by their addresses. Two with the same one can't run together.";
    BindBehindPlain = "PRV509", None, "an entry with BIND stands behind one without",
        "Both can mean the same job. Here the closest name decides and, if they are equally close, the first; z/OS asks for the entry with BIND to come first.";
    LowPortsHalf = "PRV510", None, "low ports are restricted for one protocol only",
        "RESTRICTLOWPORTS is said for TCP and UDP apart. A service that uses both is protected by half.";
    UnknownNames = "PRV511", None, "nothing on this host has the names of some reservations",
        "An entry that nobody can match blocks its port for everybody.";
    ForkedProcedure = "PRV512", None, "AUTOLOG names a procedure whose ports are reserved for its child",
        "On z/OS a daemon that forks listens under its name and a digit. Without JOBNAME its ports are not watched.";
    DelegatedCgroup = "PRV513", None, "a job is defined by a cgroup that users manage",
        "Below user.slice every user makes cgroups of any name, and so can be the job.";
    UdpDenied = "PRV514", None, "unreserved UDP ports are denied to clients too",
        "No call tells a UDP server from a client that chooses its source port. Resolvers, DHCP and QUIC clients are refused like servers.";
    OpenResource = "PRV515", None, "a resource profile admits everybody",
        "With UACC(READ) the check is made and always passes.";
    SharedByUser = "PRV516", None, "jobs that share a port must have the same user",
        "Linux lets listeners share a port within one effective user only. On z/OS any two may.";
    HeldByOther = "PRV530", None, "a reserved port is held by somebody else",
        "Only later binds are judged. A socket that was bound before stays, so the rightful server can't have its port, and whoever has it can't get it again.";
    ServersUnreserved = "PRV531", None, "servers use ports above 1023 that nothing reserves",
        "Any process can bind such a port while its server is down, or before it is up.";
    LowPortsUnreserved = "PRV532", None, "servers use ports below 1024 that nothing reserves",
        "Any process that may bind low ports can take one while its server is down, or before it is up.";
    EnterpriseExtender = "PRV533", None, "the ports of Enterprise Extender are reserved in part",
        "SNA over UDP uses the ports 12000 to 12004, one per priority. A node that lacks one of them doesn't start, or loses traffic.";
    ListenersUnknown = "PRV534", None, "the host's sockets can't be listed",
        "The kernel was built without INET_DIAG, or its module can't be loaded. What listens already is not compared with the policy.";
    SocketUnitRefused = "PRV535", None, "a socket unit listens on a port that its job doesn't get",
        "systemd binds in the cgroup of the .socket unit, not in that of the service. A job that has the service's only misses it, and the unit fails when it is started again.";
    OwnPortRefused = "PRV536", None, "the policy refuses the agent the port of its own metrics",
        "The agent binds the port that [metrics] names like any other process, and is judged like one. As long as it has the port already nothing happens; after its next start nobody can read its metrics.";
    WatchedOnly = "PRV540", None, "procedures are only watched here",
        "In a pod the kubelet starts and ends programs. What AUTOLOG lists is shown and watched, and nothing is started or cancelled.";
    NeverWatched = "PRV541", None, "a procedure is started but never watched",
        "Only ports that are reserved for exactly its job name, without NOAUTOLOG, are watched. Perhaps that is meant; perhaps JOBNAME is missing.";
    NothingAwaited = "PRV542", None, "DELAYSTART DVIPA waits for no address",
        "Linux has no sysplex to join. What is waited for are the addresses that [delaystart] dvipa names, else those of BIND; without any the procedure is started at once.";
    CancelledForNothing = "PRV543", None, "a procedure is cancelled whenever it stops listening for a while",
        "The policy agent of z/OS opens some of its ports only at times. A watched port that isn't open is the sign that its procedure is dead.";
    RestartsItself = "PRV544", None, "systemd restarts a unit that AUTOLOG supervises",
        "Two supervisors start the same server. After an end by itself it is systemd that restarts it, at its own pace; AUTOLOG cancels it all the same when a port is missing.";
    SocketActivated = "PRV545", None, "a socket unit holds the ports of a procedure",
        "systemd listens for the service, before it is started and after it has died. So a watched port is always open, and says nothing about the procedure.";
    NoSuchUnit = "PRV546", None, "the unit of a procedure does not exist",
        "The procedure can't be started until there is such a unit. Its job is defined by the unit's cgroup, so nobody is the job either.";
    UnitsUnknown = "PRV547", None, "the units of procedures can't be looked at",
        "systemd doesn't answer, so nothing is said about their settings. It has to, for procedures to be started.";
    OtherSlice = "PRV548", None, "the unit of a procedure is in another slice than its job",
        "The job of a procedure is whoever is in its unit's cgroup, which is looked for in [autolog] slice. A unit with a Slice= of its own is elsewhere, so its server would be refused its own ports.";
    SnmpAgentPort = "PRV549", None, "the SNMP agent's port is reserved for nobody",
        "Whoever gets it first answers managers in the agent's name.";
    ExpectedReserved = "PRV550", None, "a port is expected to be open that nobody may have",
        "The profile says RESERVED, so the expectation can't be met, and reports that for ever.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_ascending() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].id() < pair[1].id(), "{}", pair[1].id());
        }
        for code in Code::ALL {
            assert_eq!(code.id().len(), 6);
            assert!(code.explanation().ends_with('.'));
            assert!(!code.title().ends_with('.'));
        }
    }
}
