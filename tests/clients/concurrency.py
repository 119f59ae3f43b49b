"""Sends 300 requests at once, and checks that each gets the answer to its own rows.

    concurrency.py <http address> <grpc address> <models folder>

A third goes by gRPC futures, a third by gRPC on asyncio, a third by HTTP on threads; models and
rows differ from one to the next. Exits with 0 if all answers are equal in every bit.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import tritonclient.grpc.aio as over_grpc
import tritonclient.http as over_http
from reference import Reference, Tensors, array_from, check_same, datatype_of, wire
from tritonclient.grpc import service_pb2, service_pb2_grpc

REQUESTS = 300
THREADS = 24


@dataclass(frozen=True)
class Question:
    """One request and the answer to it alone."""

    name: str
    model: str
    inputs: Tensors
    expected: Tensors

    def check(self, found: Tensors) -> None:
        check_same(self.name, found, self.expected)


def main(http: str, grpc_address: str, models: str) -> int:
    questions = make_questions(Path(models))
    ask_at_once(http, grpc_address, questions)
    print(f"{len(questions)} requests at once, each got its own rows' answer")
    return 0


def ask_at_once(http: str, grpc_address: str, questions: Sequence[Question]) -> None:
    """Has all of them under way together, over both protocols, and checks the answers."""
    with (
        grpc.insecure_channel(grpc_address) as channel,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        # All three are under way before the first answer is read.
        threaded = [threads.submit(by_http, http, question) for question in questions[0::3]]
        futures = [stub.ModelInfer.future(message(question)) for question in questions[1::3]]
        asyncio.run(by_asyncio(grpc_address, questions[2::3]))
        for question, future in zip(questions[1::3], futures, strict=True):
            question.check(read_response(future.result()))
        wait_for(threaded)


def make_questions(models: Path) -> list[Question]:
    """Requests of 1 to 5 rows, and what onnxruntime answers to each of them alone."""
    references = [
        Reference(models, model, version)
        for model, version in (("iris", "2"), ("digits", "1"), ("wine", "1"))
    ]
    questions = []
    for number in range(REQUESTS):
        # Not by the remainder of 3, so that every model goes by every road.
        reference = references[number // 3 % len(references)]
        inputs = reference.random(1 + number % 5, seed=1000 + number)
        name = f"request {number} to {reference}"
        questions.append(Question(name, reference.model, inputs, reference.answer(inputs)))
    # Otherwise a mix-up could go unseen.
    answers = {wire(question.expected["probabilities"]) for question in questions}
    if len(answers) != len(questions):
        raise AssertionError(f"only {len(answers)} of {len(questions)} answers differ")
    return questions


def message(question: Question) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=question.model)
    for name, array in question.inputs.items():
        request.inputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        request.raw_input_contents.append(wire(array))
    return request


def read_response(response: service_pb2.ModelInferResponse) -> Tensors:
    raw = response.raw_output_contents
    return {
        output.name: array_from(output.datatype, list(output.shape), content)
        for output, content in zip(response.outputs, raw, strict=True)
    }


async def by_asyncio(address: str, questions: Sequence[Question]) -> None:
    async with over_grpc.InferenceServerClient(address) as client:

        async def ask(question: Question) -> None:
            inputs = given(question, over_grpc.InferInput)
            result = await client.infer(question.model, inputs)
            question.check({name: result.as_numpy(name) for name in question.expected})

        await asyncio.gather(*(ask(question) for question in questions))


def by_http(address: str, question: Question) -> None:
    with over_http.InferenceServerClient(address) as client:
        result = client.infer(question.model, given(question, over_http.InferInput))
        question.check({name: result.as_numpy(name) for name in question.expected})


def given(question: Question, make: Callable[..., object]) -> list[object]:
    """The inputs as one of tritonclient's clients takes them."""
    return [
        make(name, list(array.shape), datatype_of(array)).set_data_from_numpy(array)
        for name, array in question.inputs.items()
    ]


def wait_for(threaded: list[Future[None]]) -> None:
    for future in threaded:
        future.result()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
