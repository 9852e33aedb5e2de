"""Statements that models write, and what runs side by side, as cells: see `features`."""

from __future__ import annotations

STATEMENTS = {
    "statements": r"""
first, *middle, last = range(5)
first, middle, last
# (0, [1, 2, 3], 4)

a, (b, c) = 1, (2, 3)
a, b = b, a
a, b, c
# (2, 1, 3)

(n := 10) + n
# 20

data = [1, 2, 3]
[y for x in data if (y := x * 2) > 2]
# [4, 6]

for i in range(3):
    if i == 5: break
else:
    i = 'done'
i
# 'done'

n = 0
while True:
    n += 1
    if n < 3: continue
    break
n
# 3

match {'kind': 'point', 'at': [1, 2]}:
    case {'kind': 'point', 'at': [x, y]} if x < y: found = (x, y)
    case _: found = None
found
# (1, 2)

def tell(v):
    match v:
        case int() | float(): return 'number'
        case str(s): return s
        case [a, *rest]: return rest
        case None: return 'none'
tell(1), tell('s'), tell([1, 2]), tell(None)
# ('number', 's', [2], 'none')

try:
    int('x')
except (ValueError, KeyError) as error:
    said = str(error)
else:
    said = 'no error'
finally:
    said += '!'
said
# "invalid literal for int() with base 10: 'x'!"

class Mine(Exception):
    pass
try:
    raise Mine('a', 1) from None
except Mine as e:
    args = e.args
args
# ('a', 1)

import contextlib
@contextlib.contextmanager
def tag(name):
    log.append(name)
    yield name.upper()
    log.append('/' + name)
log = []
with tag('a') as t, tag('b'):
    log.append(t)
log
# ['a', 'b', 'A', '/b', '/a']

class Quiet:
    def __enter__(self): return self
    def __exit__(self, *e): return True
with Quiet():
    1 / 0
'went on'
# 'went on'

assert True, 'never'
del data
'data' in globals()
# False

x = 5
'small' if x < 3 else 'large', 1 < x <= 5, not x, x and 'and', 0 or 'or'
# ('large', True, False, 'and', 'or')

items = [3, 1, 2]
items[1:] = [9]
items += [4]
items[::-1], items[-1]
# ([4, 9, 3], 4)

counts = {}
for w in 'a b a'.split(): counts[w] = counts.get(w, 0) + 1
counts | {'c': 0}
# {'a': 2, 'b': 1, 'c': 0}

import copy
nested = {'k': [1]}
copied = copy.deepcopy(nested)
nested['k'].append(2)
copied
# {'k': [1]}
""",
    "side by side": r"""
import threading
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
sorted(seen)
# [0, 1, 2, 3]

from concurrent.futures import ThreadPoolExecutor, as_completed
with ThreadPoolExecutor(4) as pool:
    squares = list(pool.map(lambda n: n * n, range(5)))
squares
# [0, 1, 4, 9, 16]

with ThreadPoolExecutor() as pool:
    futures = [pool.submit(pow, n, 2) for n in range(3)]
    done = sorted(f.result() for f in as_completed(futures))
done
# [0, 1, 4]

lock, n = threading.Lock(), 0
def add():
    global n
    with lock: n += 1
threads = [threading.Thread(target=add) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
n
# 8

import queue
q = queue.Queue()
worker = threading.Thread(target=lambda: q.put('made'))
worker.start()
q.get(timeout=5)
# 'made'

local = threading.local()
local.x = 1
event = threading.Event()
threading.Thread(target=event.set).start()
event.wait(5), local.x
# (True, 1)

import asyncio
async def late(n):
    await asyncio.sleep(0.01 * n)
    return n
await asyncio.gather(late(2), late(1))
# [2, 1]

async def work():
    limit = asyncio.Semaphore(2)
    async def one(n):
        async with limit: return await late(n)
    return [await t for t in [asyncio.create_task(one(n)) for n in range(4)]]
await work()
# [0, 1, 2, 3]

try:
    await asyncio.wait_for(asyncio.sleep(9), 0.01)
except asyncio.TimeoutError:
    said = 'too late'
said
# 'too late'

await asyncio.to_thread(sum, [1, 2])
# 3

import time
start = time.perf_counter()
time.sleep(0.01)
time.perf_counter() - start >= 0.009
# True
""",
}
"""Cells by theme."""
