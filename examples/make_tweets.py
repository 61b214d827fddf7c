"""Write ``examples/tweets.parquet``: tweets written for this project, and rows that break careless code.

All texts were made up for sentstream; no real person or account is meant. The result is the same on every
run: ids, times and users follow from the row's position.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

OUTPUT = Path(__file__).with_name("tweets.parquet")
ROWS_PER_GROUP = 128

POSITIVE = """\
first coffee of the day and the sun is out, I could cry I'm so happy
my sister just told me she's having a baby!!! I'm going to be an AUNT 😭❤️
Shoutout to the bus driver who waited for me this morning. You made my whole week
finally finished the quilt I started in 2019 and it is gorgeous
@marta_bakes those cinnamon rolls were unreal, thank you sooooo much
passed my driving test on the third try!!! wooooohoooo
The new album is even better than the first one. Not a single skip.
just adopted the sweetest old greyhound, say hi to Biscuit 🐶 https://example.com/biscuit
fresh sheets, rain on the window, nothing to do tomorrow. perfect
Our little team shipped it today and everything works. So proud of everyone #launchday
grandma learned how to video call and now she sings to me every Sunday 🥰
best ramen I've ever had and it's two minutes from my flat
thank you @nightowl_books for finding that out of print atlas, you are wizards
Got the job!!! I start in March!!!
walked 20k steps through the old town and loved every single one
This tiny cinema with the velvet seats is my favorite place in the world
my tomatoes are finally ripe & they taste like actual summer
The kids made me breakfast in bed, burnt toast and all, and I love them to bits
so grateful for friends who show up with soup when you're sick
That goal in the last minute! What a match! What a team! ⚽️🔥
I laughed until my stomach hurt, this show is brilliant
lovely evening by the river with good people :)
new glasses arrived and wow, trees have LEAVES
The nurse who took care of dad last night was an angel. Thank you, thank you.
I can't believe how kind everyone was at my first open mic
finally a keyboard that feels good to type on, I'm in love with it
happy birthday to my favorite human @tomasz_w, hope your day is as great as you are 🎂
just had the smoothest airport experience of my life?? well done everyone
The puppy slept through the night. We are saved. Best day ever!
homemade pizza night never disappoints 😋
Yesss my paper got accepted!!! Three years of work, so worth it
the library extended its opening hours, what a gift to this neighborhood
That sunrise from the night train. I'll remember it forever.
woke up with no headache for the first time in a week, feeling amazing
Beautiful service at the little Greek place on the corner, they even sang for mum's birthday
My students surprised me with a card and now I'm crying happy tears in the staff room
this playlist is so good, thanks for sharing @quietmondays
two weeks without sugar and I feel fantastic
hugged my best friend for the first time in two years today 💛
The customer support was quick, friendly and actually solved my problem. Wow.
snow day!!! hot chocolate, blankets and zero plans ☃️
I am so excited for the weekend, camping with the whole gang
Congratulations @riverside_choir, that concert gave me goosebumps
my cat learned to high five. I have peaked as a parent 🐱
loving the new bike lanes, my commute is now the nicest part of the day
The bread rose! The bread ROSE! I am unstoppable
the way the whole stadium sang together, absolutely magical
What a delightful little game. Charming art, great music, wonderful ending. #indiegames
lost my wallet on the tram and someone brought it to my door with everything in it. faith restored
got my first five star review today, doing a little dance
sweet potato fries are the best thing humans ever invented and that's a fact
Daughter's first steps today. My heart is so full.
this is the cleanest API I've worked with in years, nice work
finally saw the northern lights and no photo could ever do it justice 😍
I really enjoyed the talk this morning, clear and funny and full of good ideas
the physio fixed my shoulder in two sessions, she's a genius
Cheers to the stranger who paid for my coffee, you rock!
best birthday ever, thank you all for the lovely messages xx
our garden has hedgehogs!!! three of them!!! 🦔
can't wait to see you all on Friday, it's been far too long
my grandpa's 90th and he out-danced everybody
The refurbished laptop works like new and cost a third. Very happy with it.
Just booked the tickets, Lisbon here we come!!
this soup is like a hug
got up early, went for a run, feel great, who am I
what a beautiful, beautiful film. still smiling
The new season of my favorite podcast is out today, yay!
I love how quiet the city gets after the first snow
Best. Concert. Ever.
My neighbor leaves a bag of plums on my step every August, I adore her
proud of my little brother for finishing his first marathon 🏅
so happy with the haircut, thank you Ines!!
Our team won the school science fair!!! #physics #proud
the lake was warm, the beer was cold, life is good
honestly the nicest landlord I've ever had, he fixed the heating within an hour
Thank you for the follow, your drawings are wonderful
finished my thesis!!! freedom!!! champagne!!! 🍾
This cafe plays vinyl and gives dogs biscuits, five stars
slept nine hours and I feel like a brand new person :D
The teacher told us our son is kind to everyone. Nothing could make me prouder.
waking up to birdsong instead of the alarm is bliss
wow, great customer service from @oakstreet_bikes, same day repair and a smile
I made it to the top!!! what a view https://example.com/summit
he said YES 💍💍💍
My first salary as an engineer just landed, taking mum out for dinner tonight
love love love this rainy day music
you guys are the best community on here, seriously
Fantastic game tonight, the young keeper was incredible
the new trains are so comfy and quiet, well worth the wait
Today I am one year sober. Thank you to everyone who held my hand.
strawberries from the market taste like being six years old again, delicious
good morning to everyone, but especially to the bakery downstairs
That was the kindest email I've ever gotten from a reader, made my month
finally understand recursion because of this video, brilliant explanation
Super impressed with the museum app, easy to use and great stories
It's a girl!!! 3.2 kg and perfect 💕
best decision of the year: deleting my work email from my phone
such a fun night, thanks for having us @thelanternpub
the kitchen is done and it's stunning, I want to live in there
I didn't expect to like this book and now I can't put it down
no traffic, no queue, no complaints. today is my day
"""

NEGATIVE = """\
third delayed train this week and it's only tuesday, I hate this line
my phone died again at 40%, worst upgrade I ever made
Sat on hold for 55 minutes and then they hung up on me. Unbelievable.
so tired of being sick, everything hurts 🤒
the landlord put the rent up again, I want to scream
@parcel_rocket where is my package??? it's been three weeks!!!
Lost my grandma's ring at the beach. I can't stop crying.
worst burger of my life, cold and soggy and 18 euros
why does the upstairs neighbor practice drums at 6am, whyyyyyy
Failed the exam by two points. Two. Points. 😭
my bike got stolen from right outside the office, people are awful
The app crashed and deleted two hours of work. I'm furious.
it has rained for eleven days and I am so sad
I miss my dog so much. The house is too quiet without her 💔
ugh, woke up with a stiff neck and a deadline
what a terrible ending, I want those eight hours back
Got laid off this morning by email. After nine years.
the dentist says two more root canals, why me
food poisoning on the first day of my holiday, of course
nobody came to my exhibition opening :(
Disgusting hotel. Hair in the sink, stains on the sheets, rude staff.
my laptop won't turn on and my thesis is due tomorrow, I feel sick
that was a shameful performance, the whole defense was asleep
I hate how lonely this city feels on Sundays
they canceled my favorite show on a cliffhanger, how dare they
sunburnt, bitten by mosquitoes and out of money, great trip 😒
the new update ruined everything, bring back the old layout please
Broke my glasses, missed the bus, spilled coffee on my shirt. And it's not even nine.
so disappointed in the way they treated her, just cruel
can't sleep, can't think, can't stop worrying
Paid extra for express delivery and it still came a week late. Never again.
my allergies are killing me today, I can't breathe
This is the slowest website in the history of the internet
the kids have been screaming since 5am, I'm exhausted
Wisdom teeth out. I look like a potato and it hurts so bad
another weekend working, I'm so over this job
he didn't even say goodbye.
The milk was sour, the bread was moldy, and they still refused a refund
stuck in the elevator with no signal for an hour, horrible
I'm heartbroken. Our old cat passed away last night.
the heating is broken again and the landlord won't answer, it's 12 degrees in here
what a waste of money, do not buy this vacuum cleaner
my flight got canceled and the airline doesn't care at all #stranded
I ruined the cake. I ruined the frosting. I ruined the kitchen.
feeling really low today, sorry for the silence everyone
Worst referee I have ever seen, absolute disgrace
lost in the final again. I can't take this anymore
the internet has been down since monday and they keep saying "soon"
my favorite cafe is closing down and I'm gutted
Been in the ER for six hours, still no doctor. This is scary.
somebody keyed my car. why are people like this
nothing works today, I just want to go back to bed
My sister isn't speaking to me and I don't know why. It hurts.
This headache won't go away and the pills don't help
the pasta was raw in the middle, how do you even do that
I hate hate hate filling in these forms
just got dumped over text, lovely
Awful seat, awful sound, awful crowd. I left before the encore.
the puppy ate my passport. we fly tomorrow. I can't even
got soaked on the way to the interview and I blew it anyway
this cough has lasted a month and I'm sick of it
They lost my luggage AGAIN. Third time. Third!!!
I really regret cutting my own bangs
what an ugly, noisy, expensive mess of a film
my plants are all dying and I don't know what I'm doing wrong :/
Stop calling me about my car's warranty, I don't even own a car!!!
the queue at the post office was an hour long and then they closed the window in my face
no no no no, not the boss fight right after the save bug
Dad's back in hospital. Please keep him in your thoughts.
so bored I could cry, this meeting will never end
The tap water tastes like metal and the city says it's fine. It's not fine.
I got scammed buying concert tickets, I feel so stupid
everyone else got an invite. everyone.
my back is killing me after eight hours in that cheap chair
This keyboard broke after two weeks, total garbage
Don't eat at the new place by the station. Still regretting it.
it's so hot I can't sleep and the fan just died 🥵
the noise from the building site is driving me insane
I feel like I disappointed everybody
the referee was blind, the pitch was a swamp and we lost 4-0
rude waiter, tiny portions, huge bill. never going back
My code worked yesterday and today it doesn't and nothing changed. I hate computers.
missed my best friend's wedding because of the strike, I'm devastated
stepped on a piece of lego barefoot, pain beyond words
they fired the only manager who ever listened to us. Disgraceful.
why is it always raining on my day off, seriously
The battery lasts forty minutes. FORTY. What a joke.
I'm so anxious about tomorrow I can't eat
another scratch on the car, I could cry
The stairs, the smell, the mold. Worst apartment viewing ever.
my soup exploded in the microwave and so did my mood
spent the whole weekend debugging somebody else's mess 😤
that was painful to watch, what happened to this team
I can't afford the medicine anymore and nobody cares
ruined my favorite sweater in the wash, I'm so upset
the printer hates me and the feeling is mutual
worst haircut ever, I'm not leaving the house for a month
No hot water, no apology, no refund. Avoid this place.
it's my birthday and not one call. ok.
got bitten by the neighbor's dog, six stitches, very unhappy
"""

MIXED = """\
great food, horrible service, would I go back? ask me tomorrow
I love this phone but the battery is a disaster
The hike was beautiful and my knees will never forgive me
happy for you, sad for me
the concert was amazing, the three hours in the parking lot afterwards were not
Got the promotion!! and twice the work for the same money lol
cute shoes, terrible blisters
finished the marathon, lost two toenails, no regrets
the book is brilliant until the last chapter, then it falls apart
miss home so much but this city is really growing on me
the new office has a lovely view and no heating whatsoever
so proud of the kids, so sad that school is over 😢😊
the update is faster but it deleted all my settings, thanks I guess
My team won and my voice is gone and I have an exam in six hours
the wedding was gorgeous, the speech was a nightmare
It's the best worst movie I have ever seen
cried through the whole goodbye party, loved every minute
the apartment is perfect except for the rats
I'm exhausted, broke and covered in paint, but it's ours now!
spicy food makes me suffer and I can't stop eating it
lovely weather for a day stuck inside doing taxes
My flight was late but the sunset from the gate was stunning
the soup is too salty and I want more
finally quit that job. terrified and thrilled.
"""

NEUTRAL = """\
the meeting is at 3 in room 204
Bus 42 now stops at the library instead of the town hall
Reminder: clocks go back one hour on Sunday
does anyone know which day the recycling is collected?
posted a new blog entry about sourdough https://example.com/sourdough
heading to the office, then the gym, then home
Is the pharmacy on Mill Road open on public holidays?
on the train to Porto
The museum is closed on Mondays. Tickets are sold online and at the door.
changed my profile picture
watching the news with a cup of tea
Roadworks between junction 4 and 6 until Friday
what time does the match start tonight?
Today: 14 degrees, light wind from the west, chance of rain 20%
reading chapter seven
@anouk_v I sent you the file this morning
The parcel was handed over to the carrier at 09:14.
now playing: side two of an old jazz record
new phone, same number
A reminder that the form is due on the 30th
my cousin moved to Bergen in October
The recipe says 200 g flour, 3 eggs and a pinch of salt
tomorrow: dentist at ten, lunch with Paul, parents' evening at six
Version 2.4.1 is out, release notes: https://example.com/notes
it is 7:45 and I am at the bus stop
does the number 8 tram still go past the hospital
RT @city_transport: line 5 runs every 12 minutes on weekends
I have two brothers and a sister
"""


@dataclass(frozen=True)
class Odd:
    """A row that is awkward on purpose."""

    text: str | None
    lang: str | None = None
    expected: str | None = None


_LONG = (
    "I am going to tell you everything about my trip, so get a cup of tea. "
    "The hotel was lovely, the beach was lovely, the people were lovely and I never want to go home. "
)

ODD = (
    Odd(None),
    Odd(""),
    Odd("   "),
    Odd("\t\n \r\n"),
    Odd("\u3000\u00a0\u2003"),  # white space, none of it ASCII
    Odd(None, "en"),
    Odd((_LONG * 121)[:20_000], "en", "positive"),
    Odd("a" * 5_000, "en"),
    Odd("😂😂😂😂😂😂😂😂"),
    Odd("❤️", expected="positive"),
    Odd("👩🏽‍🚀👨‍👩‍👧‍👦🏳️‍🌈"),  # joined emoji, skin tones
    Odd("🇵🇹🇧🇷 final tonight!!!", "en"),
    Odd("?!?!?!?!?!?!?!"),
    Odd("..."),
    Odd(":( :( :(", expected="negative"),
    Odd(":-) <3 ^_^", expected="positive"),
    Odd("https://example.com/a/very/long/path?with=query&and=more#fragment"),
    Odd("@ana @ben @chloe @dev @emil"),
    Odd("#monday #again #whywhywhy", "en", "negative"),
    Odd("nooooooooooooooooooooooooooo", "en", "negative"),
    Odd("yaaaaaaaaaaaaaayyyyyyyyy!!!!!!!!!!!!!", "en", "positive"),
    Odd("fish &amp; chips &lt;3 best dinner ever", "en", "positive"),
    Odd("she said &quot;no&quot; and I&#39;m crushed", "en", "negative"),
    Odd("&amp;amp;lt;"),
    Odd("nul\x00inside\x00a tweet, still a happy one", "en", "positive"),
    Odd("\x00"),
    Odd("zero\u200bwidth\u200bspaces are a terrible idea", "en", "negative"),
    Odd("ｆｕｌｌ ｗｉｄｔｈ ｌｅｔｔｅｒｓ ａｒｅ ｃｕｔｅ", "en"),
    Odd("Z̸̢͝a̷l̵g̶o̴ came to tea", "en"),
    Odd("cafe\u0301 or café, both are great", "en", "positive"),
    Odd("هذا أجمل يوم في حياتي ❤️", "ar", "positive"),
    Odd("الخدمة سيئة جدا ولن أعود أبدا", "ar", "negative"),
    Odd("איזה יום נהדר, תודה לכולם", "he", "positive"),
    Odd("\u202ereversed on purpose\u202c", "en"),
    Odd("今日は最高の一日でした！ありがとう😊", "ja", "positive"),
    Odd("这家餐厅太难吃了，再也不来了", "zh", "negative"),
    Odd("오늘 너무 피곤하고 슬퍼요 ㅠㅠ", "ko", "negative"),
    Odd("आज का दिन बहुत अच्छा था", "hi", "positive"),
    Odd("Der Zug hat schon wieder Verspätung, zum Heulen", "de", "negative"),
    Odd("¡Qué concierto tan bonito, gracias!", "es", "positive"),
    Odd("Encore une panne, j'en ai marre", "fr", "negative"),
    Odd("Καλημέρα σε όλους", "el", "neutral"),
    Odd("Ненавижу понедельники", "ru", "negative"),
    Odd("İSTANBUL'DA HAVA ÇOK GÜZEL", "tr", "positive"),
    Odd("12345 67890"),
    Odd("=SUM(A1:A9)"),
    Odd("'; DROP TABLE tweets; --"),
    Odd('{"text": "not json", "ok": false}'),
    Odd("[bold red]not markup[/bold red]"),
    Odd("one\nline\nafter\nthe other, what a nice little poem", "en", "positive"),
    Odd("<pad> <unk> <user> <url>"),
    Odd("\ufffd\ufffd broken before it got here", "en"),
)

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False, metadata={"meaning": "made-up snowflake id"}),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field(
            "author",
            pa.struct([("name", pa.string()), ("followers", pa.int32()), ("verified", pa.bool_())]),
        ),
        pa.field("lang", pa.dictionary(pa.int8(), pa.string())),
        pa.field("text", pa.string()),
        pa.field("expected", pa.string(), metadata={"meaning": "the label its author had in mind"}),
    ],
    metadata={"title": "Tweets written for sentstream", "license": "Apache-2.0"},
)

_START = datetime(2024, 3, 4, 6, 30, tzinfo=UTC)
#: Snowflake ids count milliseconds from here, shifted left by 22 bits.
_SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
_NAMES = ("ana_lx", "ben.k", "chloe", "dev_null", "emil77", "farah", "gus", "hana_o", "ivo", "june_bug", "")


def rows() -> list[Odd]:
    """Return all rows in order: the blocks interleaved, each spread evenly over the whole file."""
    blocks = [
        [Odd(line, "en", label) for line in block.splitlines()]
        for label, block in (
            ("positive", POSITIVE),
            ("negative", NEGATIVE),
            ("mixed", MIXED),
            ("neutral", NEUTRAL),
        )
    ]
    # A row's place is its relative position in its own block, so that every block reaches to the end.
    placed = [
        ((index + 0.5) / len(block), number, row)
        for number, block in enumerate((*blocks, list(ODD)))
        for index, row in enumerate(block)
    ]
    return [row for _, _, row in sorted(placed, key=lambda item: item[:2])]


def table() -> pa.Table:
    """Build the table that ``examples/tweets.parquet`` holds."""
    written = rows()
    times = [
        _START + timedelta(seconds=97 * n + n * n % 61, microseconds=n * 7919 % 1_000_000)
        for n in range(len(written))
    ]
    ids = [
        (int(time.timestamp() * 1000) - _SNOWFLAKE_EPOCH_MS) << 22 | n % 4096 for n, time in enumerate(times)
    ]
    authors = [
        None
        if n % 41 == 7
        else {
            "name": _NAMES[n * 7 % len(_NAMES)] or None,
            "followers": n * n * 31 % 9973,
            "verified": n % 5 == 0,
        }
        for n in range(len(written))
    ]
    columns = {
        "id": ids,
        "created_at": times,
        "author": authors,
        "lang": [row.lang for row in written],
        "text": [row.text for row in written],
        "expected": [row.expected for row in written],
    }
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in SCHEMA}, schema=SCHEMA)


def main(output: Path = OUTPUT) -> None:
    """Write the file."""
    pq.write_table(
        table(), output, compression="zstd", row_group_size=ROWS_PER_GROUP, write_page_checksum=True
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
