"""
Running the servers as real processes of a data directory: started together, restarted when they die, killed on request.

What `omen up` stands on, and whoever else wants servers to break:

    wishes = Wishes(directory=place, ports=chosen(port=0, metrics_port=0, console=False), reconcile_every_s=0)
    async with Supervisor(place, plans(wishes), say) as servers:  # claims the directory; Stopped when another has it
        await servers.start()                                   # all at once; returns when all serve
        client = OmenClient(servers.address("omen"))
        killed = await servers.kill("riskcast")                 # SIGKILL, for real, and held down; returns its pid
        await servers.let_up("riskcast")                        # returns when it serves again, at the same address
        await servers.kill("omen", hold=False)                  # SIGKILL; comes back by itself after a moment
        await servers.back("omen")                              # … and this waits for it
    # Leaving the block drains and stops them in order, and gives the directory free.

`plans`, `Wishes` and `chosen` are in `plans.py`, `Supervisor` in `supervisor.py`. Names are `omen`, `riskcast`,
`reconciler` and `console`. A directory has one supervisor at a time, held by a lock that dies with the process; what a
supervisor that was killed left running is found by pid and start time, and ended.
"""
