"""A grammar of English sentences."""

import re
from collections.abc import Iterator
from itertools import chain

import numpy as np

from audiornn.corpus.synthetic.files import choose

OPENING = (
    "This is a small corpus of speech, and nobody had to sit in front of a microphone for it.",
    "A handful of machine voices take turns to read whatever comes next.",
    "They are fond of boats, bad weather and other people's furniture.",
    "Listen to the vowels first, then to the short silences between the words.",
    "If you train a network on these sounds, it will soon learn to mumble along.",
)

# Rules of a grammar: a name in angle brackets stands for one of the alternatives under that name.
GRAMMAR: dict[str, tuple[str, ...]] = {
    "sentence": (
        "<when> <who> <did> <number> <quality> <things> <where>.",
        "the <quality> <thing> <where> reminded <who> of <likeness> <when>.",
        "a <gusty> wind came from the <compass> <when>, and the <water> grew <state> <where>.",
        "can <who> <do> the <quality> <thing> before <clock>, or must we <wait> <where>?",
        "the <vehicle> from <port> to <town> leaves at <clock> and takes <number> minutes.",
        "whenever the <weather> comes, <who> would rather <do> <number> <things> than <do> the <thing>.",
        "it was too <state> to <do> the <quality> <thing>, so <who> <did> the <things> instead.",
        "there were <number> <things> <where>, but only the <quality> ones belonged to <who>.",
        "please <do> the <quality> <thing> <where> and leave the <things> to <who>.",
        "nobody <where> could hear <who> <do> the <quality> <thing> <when>.",
        "<remark>, said <who>, and <did> the <quality> <thing> <where>.",
        "from <port> you can walk to <town> in <number> minutes, or take the <vehicle> at <clock>.",
        "how did <who> <do> <number> <quality> <things> <when>?",
        "<when> we heard <likeness> <where>, followed by the <vehicle> from <port>.",
    ),
    "when": (
        "last Thursday", "on Monday morning", "in the middle of June", "just after sunrise", "at the end of July",
        "late in the evening", "early this year", "one foggy afternoon", "during the long winter", "the week before",
        "two days ago", "on Wednesday at lunch", "before anyone woke up", "in the third hour", "that very night",
        "every other Sunday", "while it rained", "around Easter", "on a cold Tuesday", "as usual",
    ),
    "who": (
        "my brother", "the old sailor", "our neighbour", "a young doctor", "the baker", "her cousin Joy", "George",
        "Thelma", "the two sisters", "everyone", "the piano teacher", "uncle Hugh", "the judge", "a quiet stranger",
        "Charlotte", "the night porter", "Zoe", "a curious child", "the lighthouse keeper", "Victor",
    ),
    "did": (
        "carried", "found", "painted", "measured", "hid", "moved", "chose", "showed us", "fetched", "mended",
        "washed", "weighed", "drew", "photographed", "counted", "bought", "polished", "dropped",
    ),
    "do": (
        "carry", "find", "paint", "measure", "hide", "move", "choose", "fetch", "mend", "wash", "weigh", "draw",
        "photograph", "unwrap", "buy", "polish", "push", "shake",
    ),
    "number": (
        "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
        "fourteen", "fifteen", "sixteen", "eighteen", "nineteen", "twenty", "twenty-seven", "thirty-one",
        "thirty-eight", "forty-three", "fifty-six", "sixty", "seventy-two", "eighty-five", "ninety-nine",
        "a hundred and four",
    ),
    "quality": (
        "rusty", "yellow", "heavy", "smooth", "broken", "tiny", "wooden", "bright red", "rather ugly", "cheap",
        "foreign", "enormous", "noisy", "beige", "thick", "polished", "half-empty", "purple", "fragile", "square",
        "warm", "sharp", "well-known", "dusty", "soft blue",
    ),
    "thing": (
        "bucket", "door", "trumpet", "kitchen chair", "fishing net", "clock", "violin", "ladder", "garage key",
        "treasure chest", "bell", "lantern", "oyster shell", "engine", "umbrella", "jar of honey", "weather map",
        "toothbrush", "television", "wheelbarrow", "sofa cushion", "bridge model", "loudspeaker", "cardboard box",
        "quilt",
    ),
    "things": (
        "buckets", "feathers", "oranges", "coins", "fishing hooks", "letters", "candles", "drums", "onions", "boots",
        "jigsaw puzzles", "windows", "shells", "matches", "cushions", "wheels", "glass bottles", "pictures", "toys",
        "thimbles", "magazines", "pears", "gloves", "radios", "spoons",
    ),
    "where": (
        "under the bridge", "beside the harbour", "in the kitchen", "across the valley", "behind the church",
        "along the beach", "at the station", "near the waterfall", "on the third floor", "outside the theatre",
        "in the long garage", "below the cliffs", "by the village pond", "above the workshop", "in the back garden",
        "between two hedges", "on board the ferry", "inside the tower", "at the edge of the forest",
        "in front of the museum",
    ),
    "likeness": (
        "a sleepy trombone", "the sound of distant thunder", "an old song about fish", "a choir in a cave",
        "boiling water", "a very large bee", "the noise of a busy street", "a train in a tunnel", "slow footsteps",
        "a goose with a cough", "rain on a tin roof", "a whispered joke", "church music", "the hiss of the sea",
        "a barking dog", "someone else's childhood", "a humming fridge", "gravel in a drum",
    ),
    "gusty": ("cold", "gentle", "bitter", "warm", "salty", "sudden", "dry", "fresh", "furious", "playful", "humid"),
    "compass": ("north", "south", "east", "west", "north-east", "south-west", "sea", "mountains", "other shore"),
    "water": ("sea", "river", "lake", "channel", "estuary", "harbour basin", "pond", "stream", "canal", "bay"),
    "state": (
        "rough", "calm", "dark", "cold", "quiet", "strange", "shallow", "wild", "hot", "noisy", "gloomy", "peaceful",
        "dangerous", "dull", "choppy",
    ),
    "weather": (
        "fog", "first snow", "thunder", "drought", "hail", "autumn rain", "heat", "sea mist", "frost", "thaw",
        "spring tide", "north wind", "drizzle", "storm", "equinox",
    ),
    "clock": (
        "ten past six", "half past nine", "a quarter to three", "noon", "midnight", "five to eight", "twenty past four",
        "two o'clock", "a quarter past seven", "eleven thirty", "one fifteen", "twenty-five to five",
    ),
    "wait": (
        "wait until March", "ask again", "stand here", "sleep", "cook", "sing", "sit and watch", "argue", "begin",
        "go on searching", "play chess", "shout",
    ),
    "vehicle": (
        "ferry", "slow train", "bus", "tram", "night boat", "post van", "cable car", "coach", "express", "hovercraft",
    ),
    "port": (
        "Oyster Bay", "Port Jasper", "Whitcombe", "Yarrow Quay", "Great Shelling", "Fenmouth", "Eastwharf", "Durleigh",
        "Saint Hazel", "Gulls Point",
    ),
    "town": (
        "Thornwick", "Upper Dale", "Merrow", "Kingsley Heath", "Little Vaughan", "Cheswell", "Bridgeford", "Moyle",
        "Rathbone", "Zelby", "Nether Poole", "Quarrington",
    ),
    "remark": (
        "what a pleasure", "never mind the noise", "I should have known", "there is no hurry", "that makes five",
        "it was cheaper yesterday", "we shall see", "listen to that", "not on my watch", "thank you, that will do",
        "enough about the weather", "you go first", "oh boy", "this is the usual confusion", "try it the other way",
    ),
}  # fmt: skip


def sentences(rng: np.random.Generator) -> Iterator[str]:
    """English sentences without end, in practice never the same one twice."""

    def expand(name: str) -> str:
        return re.sub(r"<(\w+)>", lambda found: expand(found[1]), choose(GRAMMAR[name], rng))

    while True:
        text = expand("sentence")
        yield text[0].upper() + text[1:]


def paragraphs(rng: np.random.Generator, words: int = 10) -> Iterator[str]:
    """Sentences joined until there are at least `words` words, about 3.5 seconds of speech."""
    source = chain(OPENING, sentences(rng))
    while True:
        text = next(source)
        while len(text.split()) < words:
            text += " " + next(source)
        yield text
