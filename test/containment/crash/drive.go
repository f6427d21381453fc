// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options say where to kill what how often.
type Options struct {
	// Root is a cgroup v2 directory that is ours, or a plain one.
	Root string
	// Guard is reflexguard, built with the tag faultpoints.
	Guard string
	// Program is this program with its first arguments: it plays "collector" and
	// "tenant", and "sleep", as it is told by what is put behind.
	Program []string
	// Dir is short: a socket is in it.
	Dir   string
	TTL   time.Duration
	Kills int // at least
	Seed  uint64
	// Say receives a line about each case.
	Say func(format string, args ...any)
}

// Whole is from how many kills on every case is played once at least.
const Whole = 200

const (
	// collectFor is how long a collector renews.
	collectFor = 700 * time.Millisecond
	// giveUpAfter is how long a case waits, beyond what is promised, for a knob to
	// come back at all.
	giveUpAfter = 3 * time.Second
	// byUserID is the tenant's.
	byUserID = 1000
)

type driver struct {
	Options
	arena   *arena
	judge   *judge
	service *service
	sent    *os.File
	random  *rand.Rand
	report  *Report
	cases   int
}

// Drive plays cases until enough processes were killed. The error is that it
// could not; broken promises are in the report.
func Drive(ctx context.Context, o Options) (r *Report, err error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, err
	}
	d := &driver{Options: o, random: rand.New(rand.NewPCG(o.Seed, 1)), report: &Report{
		Kernel: unix.ByteSliceToString(name.Release[:]), TTL: o.TTL.Seconds(), Seed: o.Seed,
		By: map[string]int{}, Steps: map[string]int{}, Missed: []string{}, Violations: []Violation{},
	}}
	if d.sent, err = os.Create(filepath.Join(o.Dir, "sent")); err != nil {
		return nil, err
	}
	defer d.sent.Close()
	if d.arena, err = newArena(o.Root, append(append([]string{}, o.Program...), "sleep")); err != nil {
		return nil, fmt.Errorf("make cgroups: %w", err)
	}
	defer func() { err = errors.Join(err, d.arena.close()) }()
	if d.service, err = startService(d.arena, o.Guard, o.Dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.service.stop()) }()
	d.judge = newJudge(d.arena, o.TTL, d.sent)
	defer d.judge.close()
	next := schedule(o.Seed)
	for s, again := next(); d.report.Kills < o.Kills || o.Kills >= Whole && !again; s, again = next() {
		if err := d.play(ctx, s); err != nil {
			return nil, err
		}
	}
	d.report.conclude()
	return d.report, nil
}

// play plays a case, and once more if it could not be judged.
func (d *driver) play(ctx context.Context, s scene) error {
	for again := 0; ; again++ {
		began := time.Now()
		reached, v, err := d.once(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		if len(v.broken) > 0 && v.blind > blindFor && again == 0 {
			d.report.Disturbed++
			d.Say("%s: disturbed: nothing was looked at for %v (%s)", s, v.blind, strings.Join(v.broken, "; "))
			continue
		}
		d.note(s, reached, v)
		d.Say("%4d %s: reached %v, turned %v, back after %.2f s, took %.1f s %s", d.report.Kills, s, reached, v.ever, v.back.Seconds(), time.Since(began).Seconds(), strings.Join(v.broken, "; "))
		return nil
	}
}

func (d *driver) note(s scene, reached bool, v verdict) {
	r := d.report
	for _, what := range v.broken {
		r.Violations = append(r.Violations, Violation{s.String(), what})
	}
	if !reached {
		r.Missed = append(r.Missed, s.String())
		return
	}
	r.Cases++
	count := func(what string) { r.Kills++; r.By[what]++ }
	count("SIG" + s.signal + " " + s.whom)
	if s.phase == restore {
		count("SIGKILL guard") // the one before
	}
	if s.with != "" {
		count("SIGKILL " + s.with)
	}
	if s.step != "" {
		r.Steps[s.step]++
	}
	f := r.family(s.family)
	f.Cases++
	if v.ever {
		f.Turned++
		f.back = append(f.back, v.back.Seconds())
	}
}

// once plays a case. Reached says that the process was stopped where it was to
// be.
func (d *driver) once(ctx context.Context, s scene) (reached bool, v verdict, err error) {
	if err := d.service.await(ctx); err != nil {
		return false, v, err
	}
	d.cases++
	var zero [8]byte
	if _, err := d.sent.WriteAt(zero[:], 0); err != nil {
		return false, v, err
	}
	id, err := d.arena.id()
	if err != nil {
		return false, v, err
	}
	if err := errors.Join(d.arena.remember(), d.forge(ctx, s)); err != nil {
		return false, v, err
	}
	d.judge.begin()
	lines := s.lines(d.cases)
	if early := s.phase == apply || s.phase == restore; early && s.step != "" {
		if err := d.service.arm(lines...); err != nil {
			return false, v, err
		}
	}
	c, err := startCollector(d.service, d.Program, Collector{
		Socket: filepath.Join(d.Dir, "guard.sock"), Cgroup: id, Sent: d.sent.Name(), TTL: d.TTL, For: collectFor,
		Rise: s.phase == renew, Release: s.phase == release,
	})
	if err != nil {
		return false, v, err
	}
	defer c.kill()
	reached, err = d.strike(s, c, lines)
	if err != nil {
		return false, v, err
	}
	if err := d.settle(ctx, c); err != nil {
		return false, v, err
	}
	d.service.disarm()
	v = d.judge.seen()
	switch changed, err := d.arena.untouched(); {
	case err != nil:
		return false, v, err
	case changed != "" && !s.recreate:
		v.broken = append(v.broken, changed)
	}
	if s.rewrite || s.recreate || s.phase == lost || v.turned {
		err = d.judge.replace(original, false)
	}
	return reached, v, err
}

// lines are what has processes stop themselves, different in each case.
func (s scene) lines(n int) []string {
	last := fmt.Sprintf("%s %d %s #%d", s.signal, max(s.nth, 1), s.step, n)
	if s.phase == restore {
		return []string{fmt.Sprintf("KILL 1 knob written #%d", n), last}
	}
	return []string{last}
}

// strike stops whom the scene says, when it says.
func (d *driver) strike(s scene, c *collector, lines []string) (reached bool, err error) {
	if s.step == "" {
		moment := time.Duration(d.random.Int64N(int64(collectFor + 200*time.Millisecond)))
		if s.rewrite {
			if err := d.rewriteFor(moment); err != nil {
				return false, err
			}
		} else {
			time.Sleep(moment)
		}
		d.signal(s.whom, s.signal, c)
		d.signal(s.with, "KILL", c)
		if s.rewrite {
			return true, d.rewriteFor(d.TTL + collectFor)
		}
		return true, nil
	}
	if s.phase != apply && s.phase != restore {
		if !d.wait(2*time.Second, func() bool { return d.judge.seen().turned || c.over() }) || !d.judge.seen().turned {
			return false, nil
		}
		if err := d.service.arm(lines...); err != nil {
			return false, err
		}
		switch s.phase {
		case expire, release:
			_ = syscall.Kill(c.pid(), syscall.SIGUSR1)
		case lost:
			if err := d.judge.owner(rewritten); err != nil {
				return false, err
			}
		}
	}
	last := lines[len(lines)-1]
	if !d.wait(d.TTL+2*time.Second, func() bool { return d.service.fired(last) }) {
		return false, nil
	}
	d.signal(s.with, "KILL", c)
	if s.recreate {
		pid := d.service.guard()
		if err := d.judge.replace("max", true); err != nil {
			return false, err
		}
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	return true, nil
}

func (d *driver) signal(whom, name string, c *collector) {
	number := syscall.SIGKILL
	if name == "STOP" {
		number = syscall.SIGSTOP
	}
	switch whom {
	case "guard":
		if pid := d.service.guard(); pid > 0 {
			_ = syscall.Kill(pid, number)
		}
	case "supervisor":
		_ = syscall.Kill(d.service.supervisor(), number)
	case "collector":
		_ = syscall.Kill(c.pid(), number)
	}
}

// rewriteFor has the owner write the knob again and again.
func (d *driver) rewriteFor(span time.Duration) error {
	for end := time.Now().Add(span); time.Now().Before(end); {
		wants := original
		if d.random.IntN(2) == 0 {
			wants = rewritten
		}
		if err := d.judge.owner(wants); err != nil {
			return err
		}
		time.Sleep(time.Duration(10+d.random.IntN(30)) * time.Millisecond)
	}
	return nil
}

// settle waits until nobody orders any more and nothing is held, or it has taken
// too long for that.
func (d *driver) settle(ctx context.Context, c *collector) error {
	if !d.wait(5*time.Second, c.over) {
		return errors.New("the collector does not end")
	}
	patience := d.TTL + restoreWithin + giveUpAfter
	free := func() bool { return !d.judge.seen().turned && !d.arena.record() }
	if !d.wait(patience, free) && !d.judge.seen().turned {
		d.judge.mu.Lock()
		d.judge.violated("the record is still there %v after the last order", patience)
		d.judge.mu.Unlock()
	}
	time.Sleep(2 * lookEvery)
	return d.service.await(ctx)
}

// forge has a tenant that owns the target leave a record of a lease there.
func (d *driver) forge(ctx context.Context, s scene) error {
	if !s.forge {
		return nil
	}
	dir := d.arena.dir(target)
	if err := os.Chown(dir, byUserID, byUserID); err != nil {
		return err
	}
	args := append(append([]string{}, d.Program[1:]...), "tenant", dir)
	cmd := exec.CommandContext(ctx, d.Program[0], args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: byUserID, Gid: byUserID}}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// wait polls a condition.
func (d *driver) wait(patience time.Duration, until func() bool) bool {
	for end := time.Now().Add(patience); ; time.Sleep(lookEvery) {
		if until() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
