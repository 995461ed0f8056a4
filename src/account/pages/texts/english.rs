//! The texts in English.

use chrono::TimeDelta;

use super::{Devices, Frame, Link, NewKey, Onward, Password, SignIn, Texts, Throttled, Users, Wait};
use crate::account::pages::notice::Notice;
use crate::account::pages::reason::Reason;
use crate::error::{ConfirmError, KeyError, LinkError, LoginError, ManageError, ServiceError, service_error};

pub static ENGLISH: Texts = Texts {
    language: "en",
    frame: Frame {
        product: "shoko-auth",
        skip: "Skip to the content",
        menu: "Account",
        devices: "Devices",
        password: "Password",
        users: "Users",
        throttled: "Throttled",
        sign_out: "Sign out",
        signed_in_as: |user| format!("Signed in as {user}"),
        api: "API documentation",
        not_encrypted: "This connection is not encrypted. Other people on the network can read your password and your keys. \
                        Open this page over https if you can.",
        back: "Back",
        copy: "Copy",
        copied: "Copied",
        pages: "Pages of the list",
        previous: "Previous page",
        next: "Next page",
        page_of: |page, pages| format!("Page {page} of {pages}"),
        current_password: "Your current password",
    },
    sign_in: SignIn {
        title: "Sign in",
        user: "User name or e-mail address",
        password: "Password",
        submit: "Sign in",
        forgotten: "Forgotten your password? Ask an administrator for a link to set a new one.",
    },
    onward: Onward {
        title: "You are signed in",
        explanation: |service| {
            format!(
                "{service} has sent you here although you are signed in. If this happens again, allow cookies for this \
                 domain in your browser, or tell the operator that the proxy in front of {service} drops the cookie."
            )
        },
        submit: |service| format!("Continue to {service}"),
    },
    devices: Devices {
        title: "Devices",
        list: "Where you are signed in",
        browser: "Browser",
        device: "Device",
        gateway: "Device, only for services behind the gateway",
        this_browser: "This browser",
        created: "Signed in",
        last_used: "Last used",
        never_used: "Never",
        from: |address| format!("from {address}"),
        expires: "Expires",
        never_expires: "Never",
        hosts: "Only for",
        more_hosts: |number| format!("and {number} more"),
        sign_out: "Sign out",
        all: "Several at once",
        all_intro: "A device that is signed out needs the password to sign in again.",
        sign_out_others: "Sign out all others",
        sign_out_all: "Sign out everything, this browser too",
        new_key: "Issue a key",
    },
    new_key: NewKey {
        title: "Issue a key",
        intro: "A program or device that cannot ask for your password can use a key instead.",
        device: "Name of the device",
        device_hint: "The name that the list of devices shows, such as “backup script”.",
        expiry: "Expires after",
        days: |days| match days {
            None => "Never".to_owned(),
            Some(1) => "1 day".to_owned(),
            Some(365) => "1 year".to_owned(),
            Some(days) => format!("{days} days"),
        },
        scope: "What the key is good for",
        full: "Everything that you may do",
        full_hint: "The key also works in other clients and in the API.",
        gateway: "Only services behind the gateway",
        gateway_hint: "The key cannot change your account.",
        hosts: "Hosts",
        hosts_hint: "Only for a key for the gateway: the host names for which it is good, separated by spaces. Leave it \
                     empty for every host.",
        password_hint: "Needed if the key lasts longer than this session.",
        submit: "Issue the key",
        issued: "Your new key",
        issued_intro: |device| format!("This is the key of “{device}”. Copy it now: it is not shown again."),
        key: "Key",
    },
    password: Password {
        title: "Change the password",
        intro: "All your devices and other browsers are signed out. This browser stays signed in.",
        new: "New password",
        again: "New password, once more",
        rules: |min| {
            format!(
                "At least {min} characters. It must not be a common password, your name, or one short text repeated. \
                 Several random words are a good password."
            )
        },
        submit: "Change the password",
    },
    users: Users {
        title: "Users",
        search: "Name or e-mail address",
        find: "Search",
        none: "No user has this name or e-mail address.",
        new: "Add a user",
        new_intro: "The next page shows a link. Send it to the user, who chooses a password with it.",
        invite: "Add the user",
        name: "Name",
        email: "E-mail address (optional)",
        created: "Added",
        admin: "Administrator",
        admin_hint: "May see and change all users.",
        disabled: "Disabled",
        disabled_hint: "Cannot sign in, and none of their keys works.",
        no_password: "No password yet",
        throttled: "Has to wait, next attempt",
        change: "Change this user",
        password_hint: "Needed for every change of a user.",
        save: "Save",
        invite_link: "Issue a link to choose a password",
        reset_link: "Issue a link to set a new password",
        unlock: "Unlock",
        sign_out_all: "Sign out all devices",
        delete: "Delete the user",
        delete_title: |user| format!("Delete {user}?"),
        delete_intro: "The user and all their keys are deleted for good. To keep them, disable the user instead.",
        devices_hint: "To sign out a device, enter your current password above first.",
        no_devices: "This user is not signed in anywhere.",
    },
    throttled: Throttled {
        title: "Throttled",
        intro: "These users and networks have to wait after too many failed attempts to sign in.",
        none: "No user or network has to wait.",
        unknown_names: |number| match number {
            1 => "One name that no user has is throttled as well.".to_owned(),
            _ => format!("{number} names that no user has are throttled as well."),
        },
        failures: "Failed attempts",
        until: "Next attempt",
        unlock: "Unlock",
    },
    link: Link {
        title: "Choose a password",
        intro: "This link works once. All devices on which you are signed in are signed out.",
        user: "Your user name",
        submit: "Set the password",
        issued: "One-time link",
        issued_intro: |user| {
            format!(
                "Send this link to {user}, who chooses a password with it. It works once, and it is not shown again. \
                 Earlier links of this user no longer work."
            )
        },
        address: "Link",
    },
    notice: |notice| match notice {
        Notice::SessionExpired => "Your session has ended. Sign in again.",
        Notice::SignedOut => "You are signed out.",
        Notice::DeviceSignedOut => "The device is signed out.",
        Notice::OthersSignedOut => "All other devices and browsers are signed out.",
        Notice::PasswordChanged => "The password is changed. All other devices and browsers are signed out.",
        Notice::PasswordSet => "The password is set. Sign in with it.",
        Notice::UserChanged => "The user is changed.",
        Notice::UserUnlocked => "The user can sign in at once.",
        Notice::UserSignedOut => "All devices of the user are signed out.",
        Notice::UserDeleted => "The user is deleted.",
        Notice::Unlocked => "Attempts to sign in are possible at once.",
    },
    reason,
    failed: "This did not work",
    relative,
    exact: |time| time.format("%-d %B %Y, %H:%M UTC").to_string(),
    wait: Wait {
        remaining: "Try again in {time}.",
        over: "You can try again now.",
        time: |seconds| match seconds {
            1 => "1 second".to_owned(),
            0..=120 => format!("{seconds} seconds"),
            _ => format!("{} minutes", seconds.div_ceil(60)),
        },
    },
};

fn relative(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    let is_future = seconds > 0;
    let (length, unit) = match seconds.unsigned_abs() {
        0..60 if is_future => return "in less than a minute".to_owned(),
        0..60 => return "just now".to_owned(),
        60..3600 => (60, "minute"),
        3600..86_400 => (3600, "hour"),
        _ => (86_400, "day"),
    };
    // A new session expires "in 7 days", although some of the first day has passed.
    let rounding = if is_future { length / 2 } else { 0 };
    let number = (seconds.unsigned_abs() + rounding) / length;
    let plural = if number == 1 { "" } else { "s" };
    if is_future {
        format!("in {number} {unit}{plural}")
    } else {
        format!("{number} {unit}{plural} ago")
    }
}

fn reason(reason: &Reason) -> String {
    if let Some(error) = service_error(reason) {
        return of_service(error).to_owned();
    }
    let text = match reason {
        // The page must not reveal that the password of a disabled user is correct.
        Reason::Login(LoginError::WrongCredentials | LoginError::Disabled) => {
            "The user name or the password is wrong. Check both and try again."
        }
        Reason::Login(LoginError::Throttled(_)) | Reason::Confirm(ConfirmError::Throttled(_)) => {
            "There were too many failed attempts. Even the correct password is rejected for a while."
        }
        Reason::Confirm(ConfirmError::WrongPassword) => "Your current password is wrong.",
        Reason::Manage(ManageError::Forbidden | ManageError::AdminOnly(_)) => "Only an administrator may do this.",
        Reason::Manage(ManageError::PasswordRequired) => "Enter your current password.",
        Reason::Manage(ManageError::UnknownUser) => {
            "There is no such user. Another administrator may have deleted the user."
        }
        Reason::Manage(ManageError::NameTaken) => "Another user has this name or e-mail address. Choose another one.",
        Reason::Manage(ManageError::LastAdmin) => {
            "This is the last administrator who can sign in. Make another user an administrator first."
        }
        Reason::Link(LinkError::Unknown) => {
            "This link has been used or replaced, or it has expired. Ask an administrator for a new one."
        }
        Reason::Key(KeyError::Required | KeyError::Invalid) => "You are not signed in.",
        Reason::WrongFormToken => {
            "This form belongs to another session. Nothing was changed. Open the page again and repeat the change."
        }
        Reason::PasswordsDiffer => "The two new passwords differ. Type the same password twice.",
        Reason::BadValue => "The form contains something that this page does not offer. Nothing was changed.",
        Reason::UnknownPage => "There is no such page.",
        Reason::WrongMethod => "This address cannot be opened like this. Use the links and buttons of the pages.",
        // These errors are texts for people already.
        Reason::Login(_)
        | Reason::Confirm(_)
        | Reason::Manage(_)
        | Reason::NewKey(_)
        | Reason::Link(_)
        | Reason::Key(_)
        | Reason::Service(_)
        | Reason::ForeignPage(_)
        | Reason::Body(_)
        | Reason::Hosts(_)
        | Reason::Name { .. }
        | Reason::NewName { .. } => return reason.to_string(),
    };
    text.to_owned()
}

fn of_service(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Busy { .. } => "The server is busy. Nothing was changed.",
        ServiceError::ClientDisconnected => "The connection was interrupted. Try again.",
        ServiceError::Unavailable(_) => {
            "The database cannot be reached at the moment, so this is not possible now. Try again later."
        }
        ServiceError::Internal(_) => "The server could not process the request. The cause is in its log.",
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDateTime;

    use super::*;

    #[test]
    fn times_are_relative_to_now() {
        for (seconds, text) in [
            (0, "just now"),
            (-59, "just now"),
            (-60, "1 minute ago"),
            (-3599, "59 minutes ago"),
            (-7200, "2 hours ago"),
            (-86_400, "1 day ago"),
            (30, "in less than a minute"),
            (86_400 * 30, "in 30 days"),
            (86_400 * 7 - 1, "in 7 days"),
        ] {
            assert_eq!(relative(TimeDelta::seconds(seconds)), text);
        }
        let time: NaiveDateTime = "2030-01-02T03:04:05".parse().unwrap();
        assert_eq!((ENGLISH.exact)(time), "2 January 2030, 03:04 UTC");
        assert_eq!((ENGLISH.wait.time)(40), "40 seconds");
        assert_eq!((ENGLISH.wait.time)(121), "3 minutes");
    }
}
