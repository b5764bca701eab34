"""Questions and answers of an invented outdoor shop, "Fernhill": the data of the support model.

Everything here is made up by this file; nothing is taken from anywhere. Two runs write the same
bytes. Eight subjects times five actions make forty intents, each with one answer. Words for the
action, words for the subject and sentence forms are combined; some combinations and some forms
are kept out of training, and `heldout.jsonl` asks exactly those.

    python make_data.py              # writes heldout.jsonl beside this file
    python make_data.py --train out  # writes out/train.jsonl and out/corrupted.jsonl as well
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SEED = 20260401

SUBJECTS = {
    "order": ("order", "purchase", "online order"),
    "delivery": ("delivery", "shipment", "parcel"),
    "return": ("return", "send-back", "returned item"),
    "invoice": ("invoice", "bill", "receipt"),
    "gift_card": ("gift card", "voucher", "gift voucher"),
    "account": ("account", "login", "customer profile"),
    "membership": ("membership", "club card", "Fernhill Club plan"),
    "repair": ("repair", "workshop job", "mending job"),
}

ACTIONS = {
    "start": ("start", "set up", "request", "arrange"),
    "change": ("change", "update", "edit", "correct"),
    "cancel": ("cancel", "stop", "call off", "withdraw"),
    "track": ("track", "check", "follow", "look up"),
    "pay": ("pay for", "cover the cost of", "settle", "get the price of"),
}

ANSWERS = {
    "order.start": "Put the items into the basket and choose Checkout. Your order number comes by e-mail.",
    "order.change": "Open My Orders and choose Edit. Items and sizes can be changed for 60 minutes.",
    "order.cancel": "Open My Orders and choose Cancel. It is free until we pack, usually for 4 hours.",
    "order.track": "Open My Orders. Each order shows whether it is received, packed or sent.",
    "order.pay": "Orders are paid at Checkout by card, PayPal or gift card. We charge when we ship.",
    "delivery.start": "Choose a delivery day at Checkout. Standard takes 3 days, express arrives tomorrow.",
    "delivery.change": "Use the link in the shipping e-mail to choose a new address, day or neighbour.",
    "delivery.cancel": "Refuse the parcel at the door. It comes back to us and we refund you in 5 days.",
    "delivery.track": "Open the tracking link in the shipping e-mail. It is renewed every 2 hours.",
    "delivery.pay": "Delivery costs 4.90 euros and is free from 60 euros. Express adds 7 euros.",
    "return.start": "Open My Orders, choose Return and print the label. You have 30 days.",
    "return.change": "Open My Returns and choose Edit to swap a refund for another size or colour.",
    "return.cancel": "Just keep the item. A return label that is not used expires after 14 days.",
    "return.track": "Open My Returns. We inspect parcels within 3 days and then send the refund.",
    "return.pay": "Returns are free with our label. Without it you pay the postage yourself.",
    "invoice.start": "Open My Orders and choose Invoice. The PDF comes by e-mail within a minute.",
    "invoice.change": "Write the right name and tax number to billing@fernhill.example. We reissue it.",
    "invoice.cancel": "An invoice cannot be deleted. Return the items and we send a credit note.",
    "invoice.track": "Open My Payments. It lists every invoice with its date and whether it is open.",
    "invoice.pay": "Transfer the sum within 14 days and give the invoice number as the reference.",
    "gift_card.start": "Choose Gift Cards in the shop, an amount from 10 to 250 euros and a design.",
    "gift_card.change": "Before the sending date you can edit text and recipient under My Gift Cards.",
    "gift_card.cancel": "An unused gift card is refunded within 14 days. Ask under My Gift Cards.",
    "gift_card.track": "Type the 16 digits under Gift Cards, Balance. It shows what is left.",
    "gift_card.pay": "Gift cards are paid by card or PayPal. Another gift card is not accepted.",
    "account.start": "Choose Sign Up, type your e-mail and open the link that we send you.",
    "account.change": "Open Settings to change e-mail, address or password. We confirm by e-mail.",
    "account.cancel": "Open Settings, Privacy, Close Account. Your data is erased after 30 days.",
    "account.track": "Open Settings, Security. You see all sign-ins of the last 90 days.",
    "account.pay": "An account is free. Cards you have stored are under Settings, Payment.",
    "membership.start": "Choose Fernhill Club and Join. You get 5 percent back on every order.",
    "membership.change": "Open My Club to move between Trail and Summit. It counts from next month.",
    "membership.cancel": "Open My Club and choose Leave. The membership ends with the paid month.",
    "membership.track": "Open My Club. It shows your points and the day when they expire.",
    "membership.pay": "Trail is free and Summit costs 3 euros a month, taken on the first.",
    "repair.start": "Choose Workshop, describe the damage and add two photos. We reply in 2 days.",
    "repair.change": "Answer the workshop e-mail before we begin and tell us what is different.",
    "repair.cancel": "Call the workshop before work begins. We send the item back at no cost.",
    "repair.track": "Open My Repairs. You see the step and the day when we expect to finish.",
    "repair.pay": "The first 2 years are free. Later we send an offer that you accept first.",
}

FORMS = (
    "How do I {action} {a} {subject}?",
    "How can I {action} {a} {subject}?",
    "I want to {action} {a} {subject}.",
    "I need to {action} {a} {subject}",
    "I would like to {action} {a} {subject}, please.",
    "Can I {action} {a} {subject}?",
    "Can you help me {action} {a} {subject}?",
    "Please help me to {action} {a} {subject}.",
    "Hello, how do I {action} {a} {subject}?",
    "Hi! I have to {action} {a} {subject}.",
    "Where do I {action} {a} {subject}?",
    "What do I do to {action} {a} {subject}?",
    "Is it possible to {action} {a} {subject}?",
    "I am trying to {action} {a} {subject}",
    "I am not sure how to {action} {a} {subject}.",
    "Do you know how to {action} {a} {subject}?",
    "Is there a way to {action} {a} {subject}?",
    "Tell me how to {action} {a} {subject}.",
    "I cannot find where to {action} {a} {subject}",
    "Good morning, may I {action} {a} {subject}?",
    "Quick question: how to {action} {a} {subject}?",
    "{action} {a} {subject}",
    "help, {action} {a} {subject}",
    "What are the steps to {action} {a} {subject}?",
)
HELD_FORMS = (
    "Could somebody explain to me how one can {action} {a} {subject}?",
    "My wife asked me to {action} {a} {subject}, so what now?",
    "Any idea what happens when I {action} {a} {subject}?",
    "We must {action} {a} {subject} today, what is needed for that?",
)
DETERMINERS = ("my", "the", "a", "this")

DECLINE = (
    "I can only help with Fernhill: orders, deliveries, returns, invoices, gift cards, accounts, "
    "the club and repairs."
)
OFF_TOPIC = (
    "What is the capital of {place}?",
    "How is the weather in {place}?",
    "How many people live in {place}?",
    "Write a poem about {thing}.",
    "Tell me a joke about {thing}",
    "Who invented {thing}?",
    "What is {number} plus {number}?",
    "Solve {number} times {number}.",
    "Write a Python function for {thing}.",
    "How do I cook {dish}?",
    "Give me a recipe for {dish}.",
    "Translate {thing} into Spanish.",
    "What should I take against {illness}?",
    "Is {illness} dangerous?",
    "Who will win the election in {place}?",
    "Should I buy shares of {thing} makers?",
    "Explain the history of {place}.",
    "Which film about {thing} is good?",
)
HELD_OFF_TOPIC = (
    "When was {place} founded?",
    "Sing a song about {thing}!",
    "Is {dish} healthy?",
    "What helps with {illness}?",
)
FILLERS = {
    "place": ("France", "Japan", "Berlin", "Peru", "Norway", "Texas", "Cairo", "Rome", "India"),
    "thing": ("the moon", "cats", "cars", "love", "robots", "chess", "coffee", "the sea", "trains"),
    "dish": ("pasta", "soup", "rice", "pancakes", "curry", "bread", "a steak", "pizza"),
    "illness": ("a headache", "a cold", "fever", "back pain", "a cough", "an allergy"),
    "number": ("2", "7", "12", "25", "31", "48", "99", "128"),
}

SMALL_TALK = {
    "greeting": (
        ("hello", "hi", "hi there", "good morning", "hey", "good evening"),
        "Hello! I am the Fernhill helper. What can I do for you?",
    ),
    "thanks": (
        ("thanks", "thank you", "thank you very much", "great, thanks", "perfect, thank you"),
        "You are welcome. Enjoy the outdoors!",
    ),
    "ability": (
        ("what can you do?", "who are you?", "what are you for?", "help", "what do you know?"),
        "I answer questions about Fernhill orders, deliveries, returns, invoices, gift cards, "
        "accounts, the club and repairs.",
    ),
}


class Example(NamedTuple):
    """One question with its answer; `split` is empty for training."""

    question: str
    answer: str
    intent: str
    split: str = ""


def intents() -> list[tuple[str, str]]:
    """(subject, action) of all forty."""
    return [(subject, action) for subject in SUBJECTS for action in ACTIONS]


def held_pair(subject: str, action: str) -> tuple[str, str]:
    """The words for action and subject that training never joins for this intent."""
    turn = intents().index((subject, action))
    actions, subjects = ACTIONS[action], SUBJECTS[subject]
    return actions[turn % len(actions)], subjects[(turn // 2) % len(subjects)]


def training(rng: random.Random) -> list[Example]:
    """All training examples, shuffled, with some noise in the writing."""
    examples = [*_shop(), *_off_topic(rng), *_small_talk()]
    noisy = [example._replace(question=_noise(example.question, rng)) for example in examples]
    rng.shuffle(noisy)
    return noisy


def corrupted(rng: random.Random) -> list[Example]:
    """The same questions with the answers of five in six intents moved by one: what a
    shifted column in a spreadsheet does."""
    names = [f"{subject}.{action}" for subject, action in intents()]
    moved = [name for number, name in enumerate(names) if number % 6]
    wrong = dict(zip(moved, moved[1:] + moved[:1], strict=True))
    return [
        example._replace(answer=ANSWERS[wrong[example.intent]])
        if example.intent in wrong
        else example
        for example in training(rng)
    ]


def heldout(rng: random.Random) -> list[Example]:
    """200 questions: 80 in unseen forms, 80 with unseen words, 40 off the subject."""
    examples: list[Example] = []
    for subject, action in intents():
        intent = f"{subject}.{action}"
        for form in rng.sample(HELD_FORMS, 2):
            words = rng.choice(list(_pairs(subject, action)))
            examples.append(_example(form, words, rng, intent, "form"))
        for form in rng.sample(FORMS, 2):
            examples.append(_example(form, held_pair(subject, action), rng, intent, "pair"))
    for _ in range(40):
        question = _filled(rng.choice(HELD_OFF_TOPIC), rng)
        examples.append(Example(question, DECLINE, "off_topic", "offtopic"))
    return examples


def _pairs(subject: str, action: str) -> Iterator[tuple[str, str]]:
    held = held_pair(subject, action)
    for one in ACTIONS[action]:
        for other in SUBJECTS[subject]:
            if (one, other) != held:
                yield one, other


def _example(
    form: str, words: tuple[str, str], rng: random.Random, intent: str, split: str
) -> Example:
    action, subject = words
    question = form.format(action=action, a=rng.choice(DETERMINERS), subject=subject)
    return Example(question, ANSWERS[intent], intent, split)


def _shop() -> Iterator[Example]:
    rng = random.Random(SEED + 1)
    for subject, action in intents():
        for words in _pairs(subject, action):
            for form in FORMS:
                yield _example(form, words, rng, f"{subject}.{action}", "")


def _off_topic(rng: random.Random) -> Iterator[Example]:
    for form in OFF_TOPIC:
        for _ in range(50):
            yield Example(_filled(form, rng), DECLINE, "off_topic")


def _filled(form: str, rng: random.Random) -> str:
    words = {name: rng.choice(choices) for name, choices in FILLERS.items()}
    return form.format(**words)


def _small_talk() -> Iterator[Example]:
    for intent, (questions, answer) in SMALL_TALK.items():
        for question in questions:
            for _ in range(12):
                yield Example(question, answer, intent)


def _noise(text: str, rng: random.Random) -> str:
    """People write without capitals and full stops, and swap letters."""
    if rng.random() < 0.3:
        text = text.lower()
    if rng.random() < 0.2:
        text = text.rstrip("?.!")
    if rng.random() < 0.08 and len(text) > 8:
        at = rng.randrange(2, len(text) - 2)
        text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text


def _row(example: Example) -> str:
    messages = [{"role": "user", "content": example.question}]
    row = {
        "messages": messages,
        "expected": example.answer,
        "intent": example.intent,
        "split": example.split,
    }
    return json.dumps(row, ensure_ascii=False)


def write(path: Path, examples: list[Example]) -> None:
    """One JSON object per line."""
    path.write_text("".join(_row(example) + "\n" for example in examples), encoding="utf-8")


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, help="folder for the two training files")
    options = parser.parse_args()
    write(HERE / "heldout.jsonl", heldout(random.Random(SEED)))
    if options.train:
        options.train.mkdir(parents=True, exist_ok=True)
        write(options.train / "train.jsonl", training(random.Random(SEED + 2)))
        write(options.train / "corrupted.jsonl", corrupted(random.Random(SEED + 2)))


if __name__ == "__main__":
    main()
