"""Programs that stand in for Slurm's, by the options that are used: jobs really run, one by one."""

from __future__ import annotations

import sys
from pathlib import Path

SBATCH = '''#!{python}
"""sbatch: runs every task of an array with bash and the variables Slurm sets; exit code the worst."""
import os, re, subprocess, sys

script = sys.argv[-1]
text = open(script).read()
told = dict(re.findall(r"^#SBATCH --([\\w-]+)=?(.*)$", text, re.MULTILINE))
assert text.startswith("#!/bin/bash\\n") and "wait" in told and told["partition"] == "test", told
export = next(one for one in sys.argv if one.startswith("--export="))[len("--export="):] if any(
    one.startswith("--export=") for one in sys.argv) else "ALL"
given = dict(one.split("=") for one in export.split(",") if "=" in one)
first, last = re.match(r"(\\d+)-(\\d+)", told["array"]).groups()
log = open(os.path.join({folder!r}, "sbatch.log"), "a")
print(told["job-name"], told["array"], file=log, flush=True)
worst = 0
for task in range(int(first), int(last) + 1):
    output = told["output"].replace("%A", "7").replace("%a", str(task))
    with open(output, "w") as handle:
        done = subprocess.run(["bash", script], stdout=handle, stderr=handle, env=os.environ | given | {{
            "SLURM_ARRAY_TASK_ID": str(task), "SLURM_JOB_ID": "7", "SLURM_NODELIST": "node1"}})
    worst = max(worst, done.returncode)
print("Submitted batch job 7")
sys.exit(worst)
'''

SRUN = """#!/bin/bash
while [[ "$1" == -* ]]; do if [[ "$1" == -n ]]; then shift; fi; shift; done
exec "$@"
"""

OTHERS = {
    "scontrol": "#!/bin/bash\necho node1\n",
    "squeue": '#!/bin/bash\ncat "{folder}/queue" 2>/dev/null || true\n',
    "scancel": '#!/bin/bash\necho "$@" >> "{folder}/cancelled"\n',
}


def write_slurm(folder: Path) -> Path:
    """Put the programs into a folder, for PATH. A file `queue` in it is what squeue lists."""
    folder.mkdir(parents=True)
    programs = {"sbatch": SBATCH.format(python=sys.executable, folder=str(folder)), "srun": SRUN}
    programs |= {name: text.format(folder=folder) for name, text in OTHERS.items()}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder
