"""Stop what make up started; the data stay.

Run by: make down
    scripts/lib/env.sh python scripts/down.py
"""

import contextlib
import signal

import psutil

import config
import errors
import servers


def stop(stack):
    """Stops those of the servers in `stack` that run, the last one first."""
    with servers.one_at_a_time():
        running = [
            (service, process) for service in reversed(stack) if (process := service.process())
        ]
        if not running and config.STACK == "cluster":
            print("nothing to stop: with STACK=cluster the services are not this project's")
        elif not running:
            print(f"nothing of the stack in {config.RUN_DIR} is running")
        for _, process in running:
            process.send_signal(signal.SIGTERM)
        for service, process in running:
            how = "was gone"
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    process.wait(servers.STOP_LIMIT_S)
                    how = "stopped"
                except psutil.TimeoutExpired:
                    process.kill()
                    process.wait(servers.STOP_LIMIT_S)
                    how = f"killed: it did not stop within {servers.STOP_LIMIT_S} s"
            service.pid_file.unlink(missing_ok=True)
            print(f"  {service.name:<9} pid {process.pid:<8} {how}", flush=True)


if __name__ == "__main__":
    with errors.report_failures():
        stop(servers.startable())
