// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/rand/v2"
	"time"
)

// throttle is what the kernel does to tasks of one cgroup above memory.high
// (mm/memcontrol.c of 6.12): try_charge_memcg, calculate_high_delay,
// memory_high_write.
type throttle struct {
	limit, high float64 // bytes; memory.max and memory.high
	usage       float64 // bytes charged, those in stock included
	stock       [2]int  // pages charged ahead, by CPU
	dead        bool    // the OOM killer came
}

// chargeBatch is MEMCG_CHARGE_BATCH, in pages.
const chargeBatch = 64

// charge takes a page for a task on a CPU and says how long the task sleeps on
// its way back to user space.
func (k *throttle) charge(cpu int) time.Duration {
	if k.stock[cpu] > 0 {
		k.stock[cpu]--
		return 0
	}
	if k.usage+page*chargeBatch > k.limit {
		k.dead = true
		return 0
	}
	k.usage += page * chargeBatch
	k.stock[cpu] = chargeBatch - 1
	return k.delay()
}

// delay is that of a full batch. It grows with the square of the overage, from 10 ms,
// under which nobody sleeps, to 2 s.
func (k *throttle) delay() time.Duration {
	if k.usage <= k.high {
		return 0
	}
	overage := (k.usage - k.high) / k.high
	d := time.Duration(64 * overage * overage * 1e9)
	if d <= 10*time.Millisecond {
		return 0
	}
	return min(d, 2*time.Second)
}

// set writes memory.high. A write that is below usage takes back what CPUs have
// in stock before it finds nothing to reclaim.
func (k *throttle) set(high float64) {
	if k.high = high; k.usage > high {
		for i := range k.stock {
			k.usage -= float64(page * k.stock[i])
			k.stock[i] = 0
		}
	}
}

// tenant is a service that answers and leaks, on a throttle.
type tenant struct {
	throttle
	// rate is requests a second, of which so many as there are connections can be
	// under way; the others are turned away.
	rate        float64
	connections int
	// churn is the pages that a request takes and gives back, keeps those that it
	// does not give back, leak the bytes a second that a thread of its own takes.
	churn, keeps int
	leak         float64
	onset        time.Duration
	// work is the CPU time of a request, wait how long it then waits for somebody
	// else.
	work, wait time.Duration

	now, next  time.Duration
	random     *rand.Rand
	owed       float64
	asleep     time.Duration // the leaking thread, until then
	busy       []request
	answers    int
	last, gap  time.Duration // of answers, since the onset
	ran, stuck float64       // CPU time, and time in which every task waited, s
	// effort is the CPUs that the kernel needs while every task waits: to reclaim, and to
	// put it to sleep again and again.
	effort float64
}

type request struct {
	until time.Duration
	pages int // still to take
	stage int
}

// The stages of a request.
const (
	taking = iota
	working
	waiting
	answered
)

// quantum is a step of the simulation.
const quantum = time.Millisecond

// advance moves the tenant on by dt.
func (n *tenant) advance(dt time.Duration) {
	for end := n.now + dt; n.now < end && !n.dead; {
		n.now += quantum
		n.tick()
	}
}

func (n *tenant) tick() {
	n.arrive()
	stalled := n.leaks()
	running := false
	left := n.busy[:0]
	for _, r := range n.busy {
		n.step(&r)
		switch r.stage {
		case answered:
			n.answer()
			continue
		case taking:
			stalled = true
		case working:
			running = true
			n.ran += quantum.Seconds()
		}
		left = append(left, r)
	}
	if n.busy = left; stalled && !running {
		n.stuck += quantum.Seconds()
	}
}

// arrive takes on the requests that are due.
func (n *tenant) arrive() {
	for n.now >= n.next {
		n.next += time.Duration(1e9 / n.rate * (0.5 + n.random.Float64()))
		if len(n.busy) == n.connections {
			continue // turned away
		}
		r := request{pages: n.churn}
		if n.now >= n.onset {
			r.pages += n.keeps
		}
		n.busy = append(n.busy, r)
	}
}

// leaks moves the leaking thread on and says whether it is held up.
func (n *tenant) leaks() bool {
	if n.now < n.onset || n.leak == 0 {
		return false
	}
	if n.now < n.asleep {
		return true
	}
	for n.owed = min(n.owed+n.leak*quantum.Seconds(), n.leak/10); n.owed >= page && n.now >= n.asleep && !n.dead; n.owed -= page {
		n.asleep = n.now + n.charge(n.random.IntN(len(n.stock)))
		n.ran += 1e-6
	}
	return n.now < n.asleep
}

// step moves a request on. A request that takes pages is held up when the step ends.
func (n *tenant) step(r *request) {
	if n.now < r.until {
		return
	}
	switch r.stage {
	case taking:
		for cpu := n.random.IntN(len(n.stock)); r.pages > 0 && r.until <= n.now && !n.dead; r.pages-- {
			r.until = n.now + n.charge(cpu)
			n.ran += 1e-6
		}
		if r.until <= n.now {
			r.stage, r.until = working, n.now+n.work
		}
	case working:
		r.stage, r.until = waiting, n.now+n.wait
	case waiting:
		n.usage -= float64(page * n.churn)
		r.stage = answered
	}
}

// answer counts an answer, from the onset.
func (n *tenant) answer() {
	if n.now < n.onset {
		return
	}
	n.answers++
	n.gap, n.last = max(n.gap, n.now-max(n.last, n.onset)), n.now
}

// silence is the longest gap until the end, the one at the end included.
func (n *tenant) silence() time.Duration { return max(n.gap, n.now-max(n.last, n.onset)) }

// newTenant is the payment service of the measurement: 25 requests a second that
// take and give back 64 KiB, wait 50 ms, and a leak of 50 MB/s.
func newTenant(perRequest bool) *tenant {
	n := &tenant{
		rate: 25, connections: 6, churn: 16, work: 4 * time.Millisecond, wait: 50 * time.Millisecond,
		onset: 10 * time.Second, random: rand.New(rand.NewPCG(2, 5)),
	}
	n.limit, n.high, n.usage = 2<<30, 1<<62, 0.61*(2<<30)
	if perRequest {
		n.keeps = 50 * mb / 25 / page
	} else {
		n.leak = 50 * mb
	}
	return n
}

// live moves a tenant of the world on.
func (w *world) live(g *group, dt time.Duration) {
	n, before := g.tenant, g.tenant.usage
	n.limit = float64(g.limit)
	if high := float64(min(g.ceiling, g.high)); high != n.high {
		n.set(high)
	}
	n.advance(dt)
	g.anon, g.ran, g.stuck = n.usage, n.ran+n.effort*n.stuck, n.stuck
	w.free -= n.usage - before
	if n.dead {
		g.gone = true
		w.free += n.usage
		w.oom++
	}
}
