//! The config of an agent under test.

use super::needs;

/// What a test's config says; all else is the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// `mode = "audit"`
    pub audit: bool,
    /// `[grant] require = "any"`
    pub grant_any: bool,
    /// `[events] report = "all"`
    pub report_all: bool,
    /// `[scope] netns = "all"`
    pub everywhere: bool,
    /// `on_error = "skip"`
    pub skip_errors: bool,
    /// `[ephemeral] below_floor = "accept"`
    pub any_pool: bool,
    /// `[degraded] accept = ["listen"]`
    pub accepts_listen: bool,
}

impl Settings {
    /// The defaults of the product.
    pub const DEFAULT: Self = Self {
        audit: false,
        grant_any: false,
        report_all: false,
        everywhere: false,
        skip_errors: false,
        any_pool: false,
        accepts_listen: false,
    };

    /// As on z/OS: a reservation is all its job needs (`PRT-39`).
    pub const fn grant_any(mut self) -> Self {
        self.grant_any = true;
        self
    }

    /// Every judged bind makes an event.
    pub const fn report_all(mut self) -> Self {
        self.report_all = true;
        self
    }

    /// Nothing is refused, all is reported.
    pub const fn audit(mut self) -> Self {
        self.audit = true;
        self
    }

    /// Every network namespace is judged.
    pub const fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    /// Bad entries are dropped, the rest applies.
    pub const fn skip_errors(mut self) -> Self {
        self.skip_errors = true;
        self
    }

    /// However few ports are left to hand out.
    pub const fn any_pool(mut self) -> Self {
        self.any_pool = true;
        self
    }

    /// Without the BPF LSM listeners are destroyed.
    pub const fn accepting_listen(mut self) -> Self {
        self.accepts_listen = true;
        self
    }

    /// The config file.
    pub fn toml(self) -> String {
        let mut text = String::new();
        let mut add = |holds: bool, line: &str| {
            if holds {
                text.push_str(line);
            }
        };
        // Keys of the top table come before the other tables.
        add(self.audit, "mode = \"audit\"\n");
        add(self.skip_errors, "on_error = \"skip\"\n");
        add(self.everywhere, "[scope]\nnetns = \"all\"\n");
        add(self.grant_any, "[grant]\nrequire = \"any\"\n");
        add(self.any_pool, "[ephemeral]\nbelow_floor = \"accept\"\n");
        if self.accepts_listen {
            add(true, &needs::accepting(&["listen"]));
        }
        add(self.report_all, "[events]\nreport = \"all\"\n");
        text
    }
}
