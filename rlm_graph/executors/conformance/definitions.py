"""Functions, classes and generators that models write, as cells: see `features`."""

from __future__ import annotations

DEFINITIONS = {
    "functions": r"""
def add(a, b=2, *rest, c=3, **more): return a + b + sum(rest) + c + sum(more.values())
add(1)
# 6

add(1, 1, 1, c=1, d=1)
# 5

add(*[1, 2], **{'c': 0})
# 3

def only(a, /, b, *, c): return a, b, c
only(1, b=2, c=3)
# (1, 2, 3)

make = lambda n: lambda x: x + n
make(2)(3)
# 5

def counter():
    n = 0
    def step():
        nonlocal n
        n += 1
        return n
    return step
step = counter()
step(), step()
# (1, 2)

[f() for f in [lambda n=n: n for n in range(3)]]
# [0, 1, 2]

total = 0
def grow():
    global total
    total += 5
grow()
total
# 5

def fact(n): return 1 if n < 2 else n * fact(n - 1)
fact(20)
# 2432902008176640000

import sys
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)
deep(sys.getrecursionlimit() - 200) == sys.getrecursionlimit() - 200
# True

def twice(f):
    import functools
    @functools.wraps(f)
    def inner(*a): return f(f(*a))
    return inner
@twice
def inc(x):
    'One more.'
    return x + 1
inc(1), inc.__name__, inc.__doc__
# (3, 'inc', 'One more.')

def typed(x: int) -> 'str': return str(x)
typed.__annotations__
# {'x': <class 'int'>, 'return': 'str'}

import inspect
str(inspect.signature(add))
# '(a, b=2, *rest, c=3, **more)'
""",
    "classes": r"""
class A:
    kind = 'a'
    def __init__(self, x): self.x = x
    def __repr__(self): return f'A({self.x})'
A(1)
# A(1)

class B(A):
    def __init__(self): super().__init__(2)
B().x, isinstance(B(), A)
# (2, True)

class P:
    @property
    def half(self): return self.n / 2
    @half.setter
    def half(self, h): self.n = h * 2
p = P()
p.half = 2
p.n, p.half
# (4, 2.0)

class S:
    @staticmethod
    def s(): return 's'
    @classmethod
    def c(cls): return cls.__name__
S.s(), S.c()
# ('s', 'S')

class V:
    __slots__ = ('x',)
try:
    V().y = 1
except AttributeError:
    said = 'no'
said
# 'no'

class N:
    def __init__(self, n): self.n = n
    def __add__(self, o): return N(self.n + o.n)
    def __eq__(self, o): return self.n == o.n
    def __lt__(self, o): return self.n < o.n
(N(1) + N(2)).n, N(1) == N(1), sorted([N(2), N(1)])[0].n
# (3, True, 1)

class D:
    def __getitem__(self, k): return k
    def __len__(self): return 3
    def __contains__(self, k): return k == 1
D()['k'], len(D()), 1 in D(), D()[1:2]
# ('k', 3, True, slice(1, 2, None))

class C:
    def __call__(self, x): return x * 2
    def __getattr__(self, name): return name
C()(2), C().any
# (4, 'any')

from abc import ABC, abstractmethod
class Abstract(ABC):
    @abstractmethod
    def f(self): ...
try:
    Abstract()
except TypeError:
    said = 'abstract'
said
# 'abstract'

from dataclasses import dataclass, field, asdict, replace
@dataclass(order=True, frozen=True)
class Row:
    name: str
    n: int = 0
    tags: list = field(default_factory=list, compare=False)
asdict(replace(Row('a'), n=1)), Row('a') < Row('b')
# ({'name': 'a', 'n': 1, 'tags': []}, True)

from enum import Enum, auto
class Color(Enum):
    RED = auto()
    BLUE = auto()
[c.name for c in Color], Color(2), Color['RED'].value
# (['RED', 'BLUE'], <Color.BLUE: 2>, 1)

from typing import NamedTuple, Generic, TypeVar
class Pair(NamedTuple):
    a: int
    b: str = 'b'
Pair(1)._asdict()
# {'a': 1, 'b': 'b'}

T = TypeVar('T')
class Box(Generic[T]):
    def __init__(self, item: T): self.item = item
Box[int](3).item
# 3

class Meta(type):
    def __new__(m, name, bases, names): return super().__new__(m, name, bases, {**names, 'made': 1})
class M(metaclass=Meta): ...
M.made
# 1
""",
    "generators": r"""
def squares(n):
    for i in range(n): yield i * i
list(squares(4))
# [0, 1, 4, 9]

sum(x for x in range(5) if x % 2)
# 4

def both():
    got = yield 'first'
    yield got
g = both()
next(g), g.send('sent')
# ('first', 'sent')

def outer():
    r = yield from squares(2)
    yield 'end'
list(outer())
# [0, 1, 'end']

class Down:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if self.n == 0: raise StopIteration
        self.n -= 1
        return self.n
list(Down(3))
# [2, 1, 0]

endless = iter(int, 1)
next(endless), next(endless)
# (0, 0)

[(i, a) for i, a in enumerate('ab', 1)], list(zip([1, 2], 'xy'))
# ([(1, 'a'), (2, 'b')], [(1, 'x'), (2, 'y')])

{k: v for k, v in [('a', 1)]}, {x % 2 for x in range(4)}
# ({'a': 1}, {0, 1})

[[c for c in row if c] for row in [[0, 1], [2, 0]]]
# [[1], [2]]

list(map(str.upper, filter(None, ['a', '', 'b'])))
# ['A', 'B']

any(x > 2 for x in [1, 3]), all([]), max('abc', key=ord), min([3, 1], default=0)
# (True, True, 'c', 1)

list(reversed([1, 2])), sorted({'b': 1, 'a': 2}, key=lambda k: -ord(k)), [*range(0, 9, 4)]
# ([2, 1], ['b', 'a'], [0, 4, 8])
""",
}
"""Cells by theme."""
