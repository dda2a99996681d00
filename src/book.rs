//! The tour as a short book, in the order of its chapters. Documentation alone.
//!
//! | chapter | answers |
//! |---|---|
//! | [`readiness`] | What does the kernel say, and when does it say nothing? |
//! | [`edges`] | Which rules follow, and how was each found out? |
//! | [`turn`] | What does the loop do, line by line, and where is a datagram between its arrival and its reply? |
//! | [`seam`] | Why can everything below the loop be tested without a network? |
//! | [`simulation`] | How is a stall found that a real network produces once a year? |
//! | [`growth`] | What does a message cost with more connections, larger messages, more sources? |
//! | [`completion`] | What would change with `io_uring`? |
//!
//! Each statement names the code or the test that shows it, as a link or as `file:name`. A test checks that all of these
//! exist: `tests/links.rs:every_link_and_every_name_exists`.

pub mod growth;

pub mod readiness {
    //! How the kernel says that there is something to do, and what it does not say.
    //!
    #![doc = include_str!("book/readiness.svg")]
    //!
    #![doc = include_str!("book/readiness.md")]
}

pub mod edges {
    //! The rules that keep a server right under edges, and the test that asks the kernel for each.
    //!
    #![doc = include_str!("book/edges.svg")]
    //! <style>td code { overflow-wrap: anywhere; } td:nth-child(2) { width: 34%; }</style>
    //!
    #![doc = include_str!("book/edges.md")]
}

pub mod turn {
    //! One turn of the loop, line by line, and one datagram's way through it.
    //!
    #![doc = include_str!("book/turn.svg")]
    //!
    #![doc = include_str!("book/turn.md")]
}

pub mod seam {
    //! Where the code is cut so that it can be tested, and what that costs: nothing.
    //!
    #![doc = include_str!("book/seam.svg")]
    //!
    #![doc = include_str!("book/seam.md")]
}

pub mod simulation {
    //! How a simulated kernel finds what goes wrong once a year.
    //!
    #![doc = include_str!("book/simulation.svg")]
    //!
    #![doc = include_str!("book/simulation.md")]
}

pub mod completion {
    //! What would change if the kernel did the work instead of saying that it can be done.
    //!
    #![doc = include_str!("book/completion.svg")]
    //!
    #![doc = include_str!("book/completion.md")]
}
