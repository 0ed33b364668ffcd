//! Messages between the runtime, its watchdog and its listener.

pub const Kind = enum(u8) {
    /// To the watchdog: clone the app's process with the flags in `value`; from it: the process, or
    /// an error number below 0.
    clone,
    /// The app's process, which the runtime has made itself.
    app,
    /// A directory to be removed, with its parent's descriptor and its own; its name comes after.
    /// The root that is mounted from the last one.
    tree,
    root,
    /// The app's process group exists: start the listener.
    listen,
    /// Whether the app may read from the terminal.
    foreground,
    background,
    /// From the listener: a signal that the app's process group was sent.
    heard,
    /// pasta's process, which ends with the run.
    network,
    dismiss,
};

pub const Message = extern struct { kind: Kind, value: i32 = 0 };
