"""The harness of the benchmarks: what is compared, what is asked of it, what is written down.

    machine      Debian's tools, Cargo's binaries, and how busy the two cores are
    servers      a process that listens, and what it costs
    contenders   the proxies, their configuration, and the proof that each does its job
    load         wrk, h2load and our own generator, and whether every request succeeded
    figures      what is measured, and how rounds are interleaved
    report       the table of goals and RESULTS.md
    plot         its picture
"""
