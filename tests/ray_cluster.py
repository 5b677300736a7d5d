"""A Ray cluster of two nodes on loopback, as a program: prints its address, ends with its input.

The line "lose" on its input kills the second node, as a power cut would. The nodes are at 127.0.0.2 and
127.0.0.3, for Ray takes 127.0.0.1 for "this machine" and looks up another address of it.
"""

from __future__ import annotations

import sys


def main() -> None:
    from ray.cluster_utils import Cluster

    room = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "memory": 2**30}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"include_dashboard": False, "node_ip_address": "127.0.0.2", **room},
    )
    second = cluster.add_node(node_ip_address="127.0.0.3", **room)
    try:
        print(cluster.address, flush=True)  # noqa: T201 - its output
        for line in sys.stdin:
            if line.strip() == "lose":
                cluster.remove_node(second, allow_graceful=False)
                print("lost", flush=True)  # noqa: T201
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
