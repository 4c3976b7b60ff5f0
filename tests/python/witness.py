"""An application on the Python SDK that does what it is told, line by line.

    witness.py URL OPTIONS

OPTIONS is a JSON object: name, version, executor, queues. A line of input is {"n": 1, "op": "echo", …}; its answer, in
any order, is {"n": 1, "ok": …} or {"n": 1, "error": {"name", "message", "code", "data"}}. End of input ends the program.
"""

import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from dbos import DBOS, DBOSClient, SetEnqueueOptions, SetWorkflowID, WorkflowSerializationFormat
from dbos._context import extract_trace_context, otel_carrier_from_attributes
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

PORTABLE = WorkflowSerializationFormat.PORTABLE
WAIT = 120


class SoldOut(Exception):
    def __init__(self, left):
        super().__init__(f"only {left} left")
        self.code = 409
        self.data = {"left": left}


# ---- workflows: the same ones as in witness.mjs and in the Rust scenes ----------------------------------------------


@DBOS.workflow(name="echo", serialization_type=PORTABLE)
def echo(value):
    return value


@DBOS.workflow(name="sold_out", serialization_type=PORTABLE)
def sold_out(left):
    raise SoldOut(left)


@DBOS.workflow(name="converse", serialization_type=PORTABLE)
def converse(name):
    DBOS.set_event("greeting", {"hello": name})
    DBOS.write_stream("progress", {"n": 1})
    DBOS.write_stream("progress", {"n": 2})
    DBOS.close_stream("progress")
    return {"name": name, "got": DBOS.recv("answer", timeout_seconds=WAIT)}


@DBOS.workflow(name="sit", serialization_type=PORTABLE)
def sit():
    return DBOS.recv("rise", timeout_seconds=600)


@DBOS.workflow(name="three_steps", serialization_type=PORTABLE)
def three_steps(base):
    a = DBOS.run_step({"name": "one"}, lambda: base + 1)
    b = DBOS.run_step({"name": "two"}, lambda: a * 2)
    return DBOS.run_step({"name": "three"}, lambda: [a, b])


@DBOS.workflow(name="native")
def native():
    DBOS.run_step({"name": "pair"}, lambda: (1, 2))
    return {"pair": (1, 2)}


@DBOS.workflow(name="nightly", serialization_type=PORTABLE)
def nightly(scheduled_at, context):
    return {"at": scheduled_at.isoformat() if isinstance(scheduled_at, datetime) else scheduled_at, "context": context}


@DBOS.workflow(name="relay", serialization_type=PORTABLE)
def relay(options, args):
    """Starts `converse` elsewhere, and talks with it from inside a workflow."""
    child = DBOS.enqueue_workflow_with_options(enqueue_options(options), *args)
    greeting = DBOS.get_event(child.workflow_id, "greeting", timeout_seconds=WAIT)
    progress = list(DBOS.read_stream(child.workflow_id, "progress", timeout_seconds=WAIT))
    DBOS.send(child.workflow_id, {"from": DBOS.workflow_id}, topic="answer", serialization_type=PORTABLE)
    return {"child": child.workflow_id, "greeting": greeting, "progress": progress, "result": child.get_result()}


# ---- what it can be told --------------------------------------------------------------------------------------------


def enqueue_options(options):
    return {"serialization_type": PORTABLE, **options}


def workflow(status):
    return {
        "id": status.workflow_id,
        "status": status.status,
        "name": status.name,
        "class": status.class_name,
        "application": status.application_name,
        "version": status.app_version,
        "executor": status.executor_id,
        "queue": status.queue_name,
        "parent": status.parent_workflow_id,
        "forked_from": status.forked_from,
        "user": status.authenticated_user,
        "roles": status.authenticated_roles,
        "attributes": status.attributes,
        "priority": status.priority,
        "deduplication": status.deduplication_id,
        "schedule": status.schedule_name,
        "input": list(status.input["args"]) if isinstance(status.input, dict) else status.input,
        "output": status.output,
        "error": failure(status.error) if isinstance(status.error, Exception) else status.error,
    }


def step(step):
    return {
        "number": step["function_id"],
        "name": step["function_name"],
        "output": step["output"],
        "error": failure(step["error"]) if isinstance(step["error"], Exception) else step["error"],
        "child": step["child_workflow_id"],
    }


def queue(queue):
    return {
        "name": queue.name,
        "concurrency": queue.concurrency,
        "worker_concurrency": queue.worker_concurrency,
        "limiter": queue.limiter,
    }


def schedule(row):
    return {
        "name": row["schedule_name"],
        "workflow": row["workflow_name"],
        "cron": row["schedule"],
        "status": row["status"],
        "context": row["context"],
        "timezone": row["cron_timezone"],
        "queue": row["queue_name"],
    }


class Witness:
    def __init__(self, url, options):
        self.client = DBOSClient(system_database_url=url, application_name=options["name"])

    def start(self, name, args, id):
        with SetWorkflowID(id):
            return DBOS.start_workflow(globals()[name], *args).workflow_id

    def enqueue(self, options, args=(), named={}):
        return self.client.enqueue(enqueue_options(options), *args, **named).workflow_id

    def enqueue_in_trace(self, options, args, carrier):
        context = TraceContextTextMapPropagator().extract(carrier)
        return self.client.enqueue(enqueue_options({**options, "otel_context": context}), *args).workflow_id

    def trace(self, id):
        """Where the workflow's span would be, if it ran here."""
        attributes = self.client.retrieve_workflow(id).get_status().attributes
        context = extract_trace_context(otel_carrier_from_attributes(attributes))
        place = get_current_span(context).get_span_context()
        return {
            "trace": format_trace_id(place.trace_id),
            "span": format_span_id(place.span_id),
            "state": place.trace_state.to_header(),
        }

    def result(self, id):
        return self.client.retrieve_workflow(id).get_result(polling_interval_sec=0.05)

    def status(self, id):
        return workflow(self.client.retrieve_workflow(id).get_status())

    def send(self, id, message, topic=None, key=None):
        self.client.send(id, message, topic, key, serialization_type=PORTABLE)

    def event(self, id, key, timeout=WAIT):
        return self.client.get_event(id, key, timeout_seconds=timeout)

    def stream(self, id, key):
        return list(self.client.read_stream(id, key, polling_interval_sec=0.05, timeout_seconds=WAIT))

    def cancel(self, id):
        self.client.cancel_workflow(id)

    def resume(self, id, queue):
        self.client.resume_workflow(id, queue_name=queue)

    def rewind(self, id, step, queue):
        self.client.rewind_workflow(id, start_step=step, queue_name=queue)

    def fork(self, id, new_id, step, queue, version):
        with SetWorkflowID(new_id):
            fork = self.client.fork_workflow(id, step, queue_name=queue, application_version=version)
        return fork.workflow_id

    def delete(self, id):
        self.client.delete_workflow(id)

    def delay(self, id, seconds):
        self.client.set_workflow_delay(id, delay_seconds=seconds)

    def list(self, application=None):
        return [workflow(found) for found in self.client.list_workflows(application_name=application)]

    def steps(self, id):
        return [step(found) for found in self.client.list_workflow_steps(id)]

    def register_queue(self, name, concurrency):
        self.client.register_queue(name, global_concurrency=concurrency)

    def queues(self, application=None):
        return [queue(found) for found in self.client.list_queues(application_name=application)]

    def create_schedule(self, name, workflow, cron, context, queue):
        self.client.create_schedule(
            schedule_name=name, workflow_name=workflow, schedule=cron, context=context, queue_name=queue
        )

    def schedules(self, application):
        return [schedule(found) for found in self.client.list_schedules(application_name=application)]

    def pause_schedule(self, name):
        self.client.pause_schedule(name)

    def delete_schedule(self, name):
        self.client.delete_schedule(name)

    def trigger_schedule(self, name):
        return self.client.trigger_schedule(name).workflow_id

    def versions(self):
        return [version["version_name"] for version in self.client.list_application_versions()]


# ---- line by line ---------------------------------------------------------------------------------------------------


def failure(error):
    known = {part: getattr(error, part, None) for part in ("code", "data")}
    return {"name": getattr(error, "name", None) or type(error).__name__, "message": str(error), **known}


def answer(witness, line, output):
    request = json.loads(line)
    number, op = request.pop("n"), request.pop("op")
    try:
        reply = {"n": number, "ok": getattr(witness, op)(**request)}
    except Exception as error:
        reply = {"n": number, "error": failure(error)}
    with output:
        print(json.dumps(reply, default=str), flush=True)


def main():
    url, options = sys.argv[1], json.loads(sys.argv[2])
    # SQLAlchemy would look for psycopg2 by the plain name.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", re.sub(r"^sqlite:/+", "sqlite:////", url))
    DBOS(
        config={
            "name": options["name"],
            "system_database_url": url,
            "application_version": options["version"],
            "executor_id": options["executor"],
            "log_level": "ERROR",
            "run_migrations": False,
            "notification_listener_polling_interval_sec": 0.05,
            "scheduler_polling_interval_sec": 1.0,
        }
    )
    # Before the launch there is no database to register them in.
    DBOS.listen_queues(options["queues"])
    DBOS.launch()
    for name in options["queues"]:
        DBOS.register_queue(name, polling_interval_sec=0.05, on_conflict="always_update")
    witness, output = Witness(url, options), threading.Lock()
    print(json.dumps({"n": 0, "ok": "ready"}), flush=True)
    with ThreadPoolExecutor(8) as pool:
        for line in sys.stdin:
            pool.submit(answer, witness, line, output)
    witness.client.destroy()
    DBOS.destroy()


if __name__ == "__main__":
    main()
