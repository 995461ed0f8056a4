//! The notices that a page shows after a redirect. The query contains a code and never a text.

/// A change that has just been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    SessionExpired,
    SignedOut,
    DeviceSignedOut,
    OthersSignedOut,
    PasswordChanged,
    PasswordSet,
    UserChanged,
    UserUnlocked,
    UserSignedOut,
    UserDeleted,
    Unlocked,
}

impl Notice {
    /// The name of the notice in the query.
    pub const PARAMETER: &'static str = "notice";

    const ALL: [Self; 11] = [
        Self::SessionExpired,
        Self::SignedOut,
        Self::DeviceSignedOut,
        Self::OthersSignedOut,
        Self::PasswordChanged,
        Self::PasswordSet,
        Self::UserChanged,
        Self::UserUnlocked,
        Self::UserSignedOut,
        Self::UserDeleted,
        Self::Unlocked,
    ];

    /// Returns the code of the notice in a query.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::SessionExpired => "session-expired",
            Self::SignedOut => "signed-out",
            Self::DeviceSignedOut => "device-signed-out",
            Self::OthersSignedOut => "others-signed-out",
            Self::PasswordChanged => "password-changed",
            Self::PasswordSet => "password-set",
            Self::UserChanged => "user-changed",
            Self::UserUnlocked => "user-unlocked",
            Self::UserSignedOut => "user-signed-out",
            Self::UserDeleted => "user-deleted",
            Self::Unlocked => "unlocked",
        }
    }

    /// Returns the notice with this code. `None` for an unknown code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.code() == code)
    }
}
