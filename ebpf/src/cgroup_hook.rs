//! The hooks that a cgroup has. What takes the verifier long, the verdict and the
//! telling of it, is a function of its own in each of their programs: it is walked once,
//! not once for each way by which a call can get there, and its room on the stack is
//! given back.

use portreeve_common::{
    Reason, Verdict,
    abi::{Active, Protocol},
};

use crate::judge::{Call, Kind};

/// Such a hook.
pub trait CgroupHook: Kind {
    /// What the kernel describes a call with.
    type Context;

    /// The call that `ctx` describes, if a policy is in force that judges such.
    fn call(ctx: *mut Self::Context, active: Active) -> Option<Call<Self>>;

    /// The address that a call gets which goes on with `flags`.
    fn bound(call: &Call<Self>, verdict: &Verdict, flags: u8) -> [u32; 4];
}

/// [`CgroupHook::bound`] of a hook that changes nothing.
#[inline(always)]
pub fn as_it_is<K: Kind>(call: &Call<K>, _: &Verdict, _: u8) -> [u32; 4] {
    call.address
}

/// [`Call::decide`]'s word.
#[inline(always)]
pub fn verdict<K: CgroupHook>(ctx: *mut K::Context, active: u64) -> u64 {
    match K::call(ctx, Active::from_word(active)) {
        Some(call) => call.decide().word(),
        None => Verdict::without_entry(Reason::NotJudged).word(),
    }
}

/// Tells the verdict of which `word` is the word. What it returns says nothing.
#[inline(always)]
pub fn tell<K: CgroupHook>(ctx: *mut K::Context, active: u64, word: u64, flags: u32) -> u32 {
    if let Some(mut call) = K::call(ctx, Active::from_word(active)) {
        let verdict = Verdict::from_word(word);
        let flags = flags as u8;
        call.mode = verdict.mode(call.mode);
        call.tell(&verdict, flags, K::bound(&call, &verdict, flags));
    }
    0
}

/// [`Call::trace`], of the verdict of which `word` is the word. What it returns says
/// nothing.
#[inline(always)]
pub fn trace<K: CgroupHook>(protocol: u32, port: u32, word: u64) -> u32 {
    let protocol = if protocol == Protocol::Tcp as u32 {
        Protocol::Tcp
    } else {
        Protocol::Udp
    };
    Call::<K>::trace(protocol, port as u16, &Verdict::from_word(word));
    0
}

/// Makes `$kind` the hook of that name: what [`CgroupHook`] asks for is `$call` and
/// `$bound`, and its functions are exported under the names that follow.
macro_rules! cgroup_hook {
    ($kind:ident: $context:ty, $call:ident, $bound:ident; $verdict:ident, $tell:ident, $trace:ident) => {
        #[doc = concat!("[`Hook::", stringify!($kind), "`]")]
        pub struct $kind;

        impl Kind for $kind {
            const HOOK: Hook = Hook::$kind;

            #[inline(always)]
            fn verdict(call: &Call<Self>) -> u64 {
                $verdict(call.ctx.cast(), call.active.word())
            }

            #[inline(always)]
            fn trace(protocol: Protocol, port: u16, verdict: &Verdict) {
                $trace(protocol as u32, port.into(), verdict.word());
            }

            #[inline(always)]
            fn tell(call: &Call<Self>, verdict: &Verdict, flags: u8) {
                let word = verdict.word();
                $tell(call.ctx.cast(), call.active.word(), word, flags.into());
            }
        }

        impl CgroupHook for $kind {
            type Context = $context;

            #[inline(always)]
            fn call(ctx: *mut $context, active: Active) -> Option<Call<Self>> {
                $call(ctx, active)
            }

            #[inline(always)]
            fn bound(call: &Call<Self>, verdict: &Verdict, flags: u8) -> [u32; 4] {
                $bound(call, verdict, flags)
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $verdict(ctx: *mut $context, active: u64) -> u64 {
            $crate::cgroup_hook::verdict::<$kind>(ctx, active)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $tell(ctx: *mut $context, active: u64, word: u64, flags: u32) -> u32 {
            $crate::cgroup_hook::tell::<$kind>(ctx, active, word, flags)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $trace(protocol: u32, port: u32, word: u64) -> u32 {
            $crate::cgroup_hook::trace::<$kind>(protocol, port, word)
        }
    };
}
pub(crate) use cgroup_hook;
