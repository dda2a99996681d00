//! The least privilege: what the process gives up once it has its sockets. Makes system calls of its own.
//!
//! A server that moves bytes between sockets it already has needs no file, no new socket and no other program. Linux
//! lets a process give these up for good: Landlock takes the file system away, seccomp every system call but those of
//! the loop. Whoever takes over the process through some mistake in it then holds the loop, and nothing else. See
//! landlock(7), seccomp(2).

#[cfg(target_os = "linux")]
pub use linux::enter;

/// Fails: this system has no such thing.
#[cfg(not(target_os = "linux"))]
pub fn enter(_threads: bool, _trace: bool) -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "--sandbox is not available on this system"))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::fmt::Display;
    use std::io;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, Scope,
    };
    use libc::{self as c, c_int, c_long};
    use seccompiler::{
        BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };

    /// What the loop calls, from its first turn to the end of the process, whatever the arguments of the call.
    const LOOP: &[c_long] = &[
        // Waiting.
        #[cfg(target_arch = "x86_64")]
        c::SYS_epoll_wait,
        c::SYS_epoll_pwait,
        c::SYS_epoll_ctl,
        // Connections, and the pipe of the signals.
        c::SYS_accept4,
        c::SYS_recvfrom,
        c::SYS_sendto,
        c::SYS_shutdown,
        c::SYS_close,
        // Datagrams in batches.
        c::SYS_recvmsg,
        c::SYS_sendmsg,
        c::SYS_recvmmsg,
        c::SYS_sendmmsg,
        // The standard streams, as far as they have room, and the service manager.
        c::SYS_ppoll,
        c::SYS_read,
        c::SYS_write,
        // Memory, but for the two calls that could make it executable.
        c::SYS_brk,
        c::SYS_munmap,
        c::SYS_mremap,
        c::SYS_madvise,
        // The standard library panics where it cannot seed a hash table.
        c::SYS_getrandom,
        // The clock, where the kernel cannot show it without a call.
        c::SYS_clock_gettime,
        // The return from a signal's handler, and the end.
        c::SYS_rt_sigreturn,
        c::SYS_sigaltstack,
        c::SYS_futex,
        c::SYS_exit_group,
        // A thread that is refused its end tries for ever.
        c::SYS_exit,
    ];

    /// What starting and ending threads adds, for several loops.
    const THREADS: &[c_long] = &[
        c::SYS_set_robust_list,
        c::SYS_rseq,
        c::SYS_gettid,
        c::SYS_sched_getaffinity,
        c::SYS_sched_setaffinity,
        c::SYS_rt_sigaction,
        c::SYS_rt_sigprocmask,
    ];

    /// The options that the loop sets: level and name.
    const OPTIONS: &[(c_int, c_int)] = &[
        // A connection that is closed with a reset.
        (c::SOL_SOCKET, c::SO_LINGER),
        // One that is older than what its listener passes on: see `sockets::StreamOptions`.
        (c::SOL_SOCKET, c::SO_KEEPALIVE),
        (c::SOL_SOCKET, c::SO_OOBINLINE),
        (c::SOL_SOCKET, c::SO_RCVBUF),
        (c::SOL_SOCKET, c::SO_SNDBUF),
        (c::IPPROTO_TCP, c::TCP_NODELAY),
        (c::IPPROTO_TCP, c::TCP_KEEPIDLE),
        (c::IPPROTO_TCP, c::TCP_KEEPINTVL),
        (c::IPPROTO_TCP, c::TCP_USER_TIMEOUT),
        (c::IPPROTO_TCP, c::TCP_NOTSENT_LOWAT),
    ];

    /// What rewriting a file that is open adds: begin at its start, and cut what is left of the last time.
    const TRACE: &[c_long] = &[c::SYS_lseek, c::SYS_ftruncate];

    /// Gives up everything that the loop does not need; `threads` keeps the means of starting more of them, `trace` of
    /// rewriting a file that is open.
    ///
    /// Holds for the calling thread and all that it starts from here on, and cannot be undone. Fails where the kernel
    /// is not able to (Landlock came with Linux 5.13).
    pub fn enter(threads: bool, trace: bool) -> io::Result<()> {
        let filter = filter(threads, trace).map_err(|error| named(&error))?;
        give_up_files().map_err(|error| named(&error))?;
        seccompiler::apply_filter(&filter).map_err(|error| named(&error))
    }

    fn named(error: &dyn Display) -> io::Error {
        io::Error::other(format!("--sandbox is not available on this system: {error}"))
    }

    /// No file can be opened by its name any more. Where the kernel knows how, nothing can be bound or connected
    /// either, and no process outside be signalled; seccomp forbids that as well.
    fn give_up_files() -> Result<(), RulesetError> {
        // What is handled and not allowed by a rule is denied, and there is no rule.
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V7))?
            .handle_access(AccessNet::from_all(ABI::V7))?
            .scope(Scope::from_all(ABI::V7))?
            .create()?
            .restrict_self()?;
        Ok(())
    }

    /// The filter behind the lists above.
    fn filter(threads: bool, trace: bool) -> Result<BpfProgram, BackendError> {
        use SeccompCmpOp::{Eq, MaskedEq};
        let not_executable = [(2, MaskedEq(c::PROT_EXEC as u64), 0)];
        let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = LOOP.iter().map(|&call| (call, Vec::new())).collect();
        rules.insert(c::SYS_mmap, only_with(&not_executable)?);
        rules.insert(c::SYS_mprotect, only_with(&not_executable)?);
        // How much has arrived on a connection, and how much of what was sent has not arrived at its peer.
        let amounts = [c::FIONREAD, c::TIOCOUTQ].map(|request| rule_with(&[(1, Eq, request)]));
        rules.insert(c::SYS_ioctl, amounts.into_iter().collect::<Result<_, _>>()?);
        let options = OPTIONS.iter().map(|&(level, name)| rule_with(&[(1, Eq, level as u64), (2, Eq, name as u64)]));
        rules.insert(c::SYS_setsockopt, options.collect::<Result<_, _>>()?);
        // The standard library makes sure that what it closes is open.
        rules.insert(c::SYS_fcntl, only_with(&[(1, Eq, c::F_GETFD as u64)])?);
        if trace {
            rules.extend(TRACE.iter().map(|&call| (call, Vec::new())));
        }
        if threads {
            rules.extend(THREADS.iter().map(|&call| (call, Vec::new())));
            // A thread, and not a process.
            let thread = c::CLONE_THREAD as u64;
            rules.insert(c::SYS_clone, only_with(&[(0, MaskedEq(thread), thread)])?);
        }
        // As if the kernel had never had the call: the C library then makes do with another that is on the list. It
        // does so for clone3, whose arguments no filter can see.
        let others = SeccompAction::Errno(c::ENOSYS as u32);
        SeccompFilter::new(rules, others, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
    }

    /// The call is allowed by one rule alone.
    fn only_with(arguments: &[(u8, SeccompCmpOp, u64)]) -> Result<Vec<SeccompRule>, BackendError> {
        Ok(vec![rule_with(arguments)?])
    }

    /// The rule that these arguments, the first of a call being number 0, compare with their values as said.
    fn rule_with(arguments: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
        let condition = |(index, comparison, value): &(u8, SeccompCmpOp, u64)| {
            SeccompCondition::new(*index, SeccompCmpArgLen::Dword, comparison.clone(), *value)
        };
        let conditions = arguments.iter().map(condition).collect::<Result<_, _>>()?;
        SeccompRule::new(conditions)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::fs::File;
        use std::io::{Read as _, Write as _};
        use std::net::{TcpListener, TcpStream, UdpSocket};
        use std::process::Command;

        use rustix::process::{Signal, getpid, kill_process};

        /// Runs a part of a test in a thread of its own: what a thread gives up it takes along to its end.
        fn alone<T: Send>(part: impl FnOnce() -> T + Send) -> T {
            std::thread::scope(|scope| scope.spawn(part).join().unwrap())
        }

        /// Why it failed, as the kernel's number; 0 if it did not fail.
        fn errno<T>(result: io::Result<T>) -> i32 {
            result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0)
        }

        fn has_landlock() -> bool {
            let has = alone(|| give_up_files().is_ok());
            if !has {
                println!("skipped: this kernel has no Landlock");
            }
            has
        }

        #[test]
        fn landlock_alone_denies_files() {
            if !has_landlock() {
                return;
            }
            let denied = alone(|| {
                give_up_files().unwrap();
                [
                    File::open("/proc/self/status").map(drop),
                    File::create(std::env::temp_dir().join("shout-sandbox-test")).map(drop),
                    Command::new("/bin/sh").arg("-c").arg("exit").status().map(drop),
                ]
                .map(errno)
            });
            assert_eq!(denied, [c::EACCES; 3]);
        }

        #[test]
        fn seccomp_alone_knows_only_the_loop() {
            let own = getpid();
            for threads in [false, true] {
                let denied = alone(move || {
                    seccompiler::apply_filter(&filter(threads, false).unwrap()).unwrap();
                    [
                        File::open("/proc/self/status").map(drop),
                        UdpSocket::bind("127.0.0.1:0").map(drop),
                        TcpListener::bind("127.0.0.1:0").map(drop),
                        Command::new("/bin/true").status().map(drop),
                        kill_process(own, Signal::CONT).map_err(Into::into),
                    ]
                    .map(errno)
                });
                assert_eq!(denied, [c::ENOSYS; 5], "with threads: {threads}");
            }
        }

        #[test]
        fn threads_can_be_started_only_where_there_are_several_loops() {
            for (threads, wanted) in [(false, c::ENOSYS), (true, 0)] {
                let started = alone(move || {
                    seccompiler::apply_filter(&filter(threads, false).unwrap()).unwrap();
                    let thread = std::thread::Builder::new().spawn(|| UdpSocket::bind("127.0.0.1:0").map(drop));
                    thread.map(|thread| assert_eq!(errno(thread.join().unwrap()), c::ENOSYS, "a new thread is free"))
                });
                assert_eq!(errno(started), wanted, "with threads: {threads}");
            }
        }

        #[test]
        fn sockets_that_are_open_serve_on() {
            if !has_landlock() {
                return;
            }
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            alone(move || {
                enter(false, false).unwrap();
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"still here").unwrap();
            });
            let mut text = String::new();
            peer.read_to_string(&mut text).unwrap();
            assert_eq!(text, "still here");
        }
    }
}
