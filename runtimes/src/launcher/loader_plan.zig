//! What the tracer writes into the loader's memory before it runs: the loader is linked with this
//! file, and so is the tracer.

/// The first page is for arguments of later calls.
pub const scratch_size = 4096;
pub const plan_size = 5 * 4096;
pub const Area = extern struct { scratch: [scratch_size]u8, plan: [plan_size]u8 };

/// Begins the plan. The words follow: the paths of both files on the machine, the second one
/// perhaps empty, the name of the program, and the arguments of a script.
pub const Head = extern struct {
    len: u32,
    words: u32,
    user: [2]u32,
    group: [2]u32,
    comm: [16]u8,
    /// The last arguments of an openat(2) that the filter allows.
    password: [2]u64,
};
