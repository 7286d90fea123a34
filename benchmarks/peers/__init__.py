"""The others, one file each: a benchmarks.peer.Peer, run by the interpreter of the peers' own environment."""
