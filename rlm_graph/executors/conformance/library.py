"""What models use of the standard library, as cells: see `features`."""

from __future__ import annotations

LIBRARY = {
    "text": r"""
name, n = 'x', 3.14159
f'{name!r:>5}|{n:.2f}|{1234567:,}|{0.256:.1%}|{255:#x}|{n=:.1f}'
# "  'x'|3.14|1,234,567|25.6%|0xff|n=3.1"

'{0} {b:03d} {0}'.format('a', b=7), '%s %05.1f' % ('s', 2.25)
# ('a 007 a', 's 002.2')

f'{"nested":^{10}}', '{{}}'.format()
# ('  nested  ', '{}')

' a,b ,c '.strip().split(','), 'a\nb\r\nc'.splitlines(), '-'.join('abc')
# (['a', 'b ', 'c'], ['a', 'b', 'c'], 'a-b-c')

'Hello'.replace('l', 'L', 1), 'abc'.find('c'), 'a=b=c'.partition('='), 'x'.center(3, '.')
# ('HeLlo', 2, ('a', '=', 'b=c'), '.x.')

'straße'.upper(), 'É'.casefold(), len('漢字😀'), '漢'.encode(), b'\xc3\xa9'.decode()
# ('STRASSE', 'é', 3, b'\xe6\xbc\xa2', 'é')

'title case'.title(), 'abc'[::-1], 'a' * 3, 'b' in 'abc', 'abc'.startswith(('x', 'a'))
# ('Title Case', 'cba', 'aaa', True, True)

r'\d', b'raw', '''two
lines''', 'a' 'b'
# ('\\d', b'raw', 'two\nlines', 'ab')

'abc'.translate(str.maketrans('ab', 'xy', 'c')), 'tab\tx'.expandtabs(4)
# ('xy', 'tab x')

import textwrap
textwrap.dedent('  a\n    b'), textwrap.wrap('one two three', 7), textwrap.shorten('one two', 6)
# ('a\n  b', ['one two', 'three'], '[...]')

import string
string.Template('$a ${b}').substitute(a=1, b=2), string.ascii_lowercase[:3], string.punctuation[0]
# ('1 2', 'abc', '!')

import unicodedata
unicodedata.normalize('NFD', 'é') == 'e\u0301', unicodedata.name('é')
# (True, 'LATIN SMALL LETTER E WITH ACUTE')

import difflib
difflib.get_close_matches('appel', ['ape', 'apple']), round(difflib.SequenceMatcher(None, 'abcd', 'bcde').ratio(), 2)
# (['apple', 'ape'], 0.75)

import html, urllib.parse
html.unescape('&lt;&eacute;'), urllib.parse.quote('a b'), urllib.parse.urlparse('http://h/p?q=1').query
# ('<é', 'a%20b', 'q=1')
""",
    "patterns": r"""
import re
re.findall(r'\d+', 'a1b22'), re.sub(r'(\w)(\d)', r'\2\1', 'a1')
# (['1', '22'], '1a')

m = re.search(r'(?P<year>\d{4})-(?P<month>\d\d)', 'on 2024-05')
m['year'], m.groupdict(), m.span()
# ('2024', {'year': '2024', 'month': '05'}, (3, 10))

[m.start() for m in re.finditer('a', 'banana')], re.split(r'[,;]\s*', 'a, b;c')
# ([1, 3, 5], ['a', 'b', 'c'])

re.sub(r'\b\w', lambda m: m[0].upper(), 'two words'), re.escape('a.b')
# ('Two Words', 'a\\.b')

bool(re.fullmatch('(?i)ABC', 'abc')), re.match('b', 'ab'), re.compile('^x', re.M).findall('x\nx')
# (True, None, ['x', 'x'])

re.findall(r'(?<=\$)\d+(?!\d|%)', '$5 $6% $77'), re.sub('(?s)<.*?>', '', '<a\n>b')
# (['5', '77'], 'b')
""",
    "data": r"""
import json
json.loads('{"a": [1, null, true]}'), json.dumps({'é': (1,)}, ensure_ascii=False, sort_keys=True)
# ({'a': [1, None, True]}, '{"é": [1]}')

print(json.dumps({'b': 1, 'a': [1]}, indent=1)); json.loads('1e3')
# 1000.0

import csv, io
list(csv.DictReader(io.StringIO('a,b\n1,"x, y"\n')))
# [{'a': '1', 'b': 'x, y'}]

out = io.StringIO()
csv.writer(out, lineterminator='\n').writerows([['a', 1], ['b,', 2]])
out.getvalue()
# 'a,1\n"b,",2\n'

import xml.etree.ElementTree as ET
[e.text for e in ET.fromstring('<r><a>1</a><a>2</a></r>').iter('a')]
# ['1', '2']

import base64, hashlib, zlib
base64.b64encode(b'hi'), hashlib.sha256(b'').hexdigest()[:8], zlib.decompress(zlib.compress(b'x' * 9))
# (b'aGk=', 'e3b0c442', b'xxxxxxxxx')

import pickle, struct
pickle.loads(pickle.dumps({'a': {1}})), struct.pack('>H', 258)
# ({'a': {1}}, b'\x01\x02')

import pathlib
pathlib.Path('note.txt').write_text('one\ntwo\n'), open('note.txt').readlines()
# (8, ['one\n', 'two\n'])

import os
os.path.splitext('a/b.txt'), sorted(p.suffix for p in pathlib.Path().glob('*.txt')), os.path.exists('none')
# (('a/b', '.txt'), ['.txt'], False)

import tempfile
with tempfile.TemporaryFile('w+') as f:
    f.write('kept')
    f.seek(0)
    read = f.read()
read
# 'kept'

import datetime as dt
(dt.date(2024, 2, 28) + dt.timedelta(days=2)).isoformat()
# '2024-03-01'

(
    dt.datetime.strptime('2024-05-06 07:08', '%Y-%m-%d %H:%M').strftime('%d %B'),
    dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc).isoformat(),
)
# ('06 May', '2024-01-01T00:00:00+00:00')

import calendar
calendar.isleap(2024), calendar.monthrange(2024, 2)[1]
# (True, 29)
""",
    "collections": r"""
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple, ChainMap
Counter('abca').most_common(1), Counter('ab') + Counter('b')
# ([('a', 2)], Counter({'b': 2, 'a': 1}))

groups = defaultdict(list)
for w in ['ab', 'c', 'de']: groups[len(w)].append(w)
dict(groups)
# {2: ['ab', 'de'], 1: ['c']}

d = deque([1, 2, 3], maxlen=2)
d.appendleft(0)
d, d[-1]
# (deque([0, 2], maxlen=2), 2)

Point = namedtuple('Point', 'x y')
Point(1, 2)._replace(y=5), ChainMap({'a': 1}, {'a': 2, 'b': 3})['b']
# (Point(x=1, y=5), 3)

import itertools
(
    list(itertools.chain([1], [2])),
    list(itertools.islice(itertools.count(5), 2)),
    [list(g) for _, g in itertools.groupby('aab')],
)
# ([1, 2], [5, 6], [['a', 'a'], ['b']])

(
    list(itertools.combinations('abc', 2))[:2],
    list(itertools.product([0, 1], repeat=2))[-1],
    list(itertools.accumulate([1, 2, 3])),
    len(list(itertools.permutations('abc'))),
)
# ([('a', 'b'), ('a', 'c')], (1, 1), [1, 3, 6], 6)

(
    list(itertools.zip_longest('ab', 'c', fillvalue='-')),
    list(itertools.takewhile(lambda x: x < 3, [1, 4, 2])),
    list(itertools.pairwise('abc')),
)
# ([('a', 'c'), ('b', '-')], [1], [('a', 'b'), ('b', 'c')])

import functools, operator
(
    functools.reduce(operator.mul, [1, 2, 3, 4]),
    functools.partial(int, base=2)('101'),
    sorted([(1, 'b'), (1, 'a')], key=operator.itemgetter(1))[0],
)
# (24, 5, (1, 'a'))

@functools.lru_cache(None)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
fib(80)
# 23416728348467685

import heapq, bisect
heapq.nlargest(2, [3, 1, 2]), heapq.nsmallest(1, [3, 1]), bisect.bisect([1, 3, 5], 3)
# ([3, 2], [1], 2)

frozenset([1, 2]) & {2, 3}, {1} ^ {1, 2}, {1} <= {1, 2}
# (frozenset({2}), {2}, True)

import array
array.array('i', [1, 2]).tolist(), bytes(bytearray([65, 66])), memoryview(b'abc')[1:].tobytes()
# ([1, 2], b'AB', b'bc')
""",
    "numbers": r"""
2 ** 100, -7 // 2, -7 % 3, divmod(7, 2), 7 / 2, 1_000
# (1267650600228229401496703205376, -4, 2, (3, 1), 3.5, 1000)

0.1 + 0.2, round(2.5), round(3.14159, 2), float('inf') > 1, int('ff', 16), bin(5), 0b11
# (0.30000000000000004, 2, 3.14, True, 255, '0b101', 3)

import math
math.isclose(math.sqrt(2) ** 2, 2), math.gcd(12, 18), math.comb(5, 2), math.floor(-1.5), math.prod([2, 3])
# (True, 6, 10, -2, 6)

import statistics
(
    statistics.mean([1, 2, 3]),
    statistics.median([1, 3, 2, 4]),
    round(statistics.stdev([1, 2, 3]), 3),
    statistics.mode('aab'),
)
# (2, 2.5, 1.0, 'a')

from fractions import Fraction
from decimal import Decimal
Fraction(1, 3) + Fraction(1, 6), Decimal('0.1') + Decimal('0.2')
# (Fraction(1, 2), Decimal('0.3'))

(1 + 2j) * 1j, abs(3 + 4j), 5 & 3, 5 | 3, 5 ^ 3, ~5, 1 << 4
# ((-2+1j), 5.0, 1, 7, 6, -6, 16)

import random
random.seed(1)
a = random.random()
random.seed(1)
a == random.random(), len(random.sample(range(10), 3)), random.choice([7])
# (True, 3, 7)

import uuid
len(str(uuid.uuid4())), uuid.uuid5(uuid.NAMESPACE_DNS, 'a').version
# (36, 5)
""",
}
"""Cells by theme."""
