// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Life is a machine being lived on.
type Life struct {
	Profile Profile
	Seed    uint64
	// Self is the program that plays every part.
	Self string
	// Recorder is run, in a cgroup of its own and before everything else, and what
	// lives ends when it does.
	Recorder []string

	mu     sync.Mutex
	random *rand.Rand
	units  map[string]*unit // services by name
	serial int              // of deployments and builds
	errs   []error
}

const (
	// settle is how long the machine is idle before the first service starts.
	settle = 20 * time.Second
	// runner is the service in which builds run that have no cgroup of their own.
	runner = "runner"
)

// Run lives until the recorder ends.
func (l *Life) Run(ctx context.Context) error {
	l.random = rand.New(rand.NewPCG(l.Seed, 0))
	l.units = map[string]*unit{}
	for _, name := range []string{"system.slice", "batch.slice", "reflex.slice"} {
		if err := slice(name); err != nil {
			return err
		}
	}
	recorder := &unit{dir: filepath.Join(root, "reflex.slice/recorder.service")}
	if err := recorder.start(l.Recorder...); err != nil {
		return err
	}
	living, end := context.WithCancel(ctx)
	defer end()
	go l.live(living) // what still lives when the recording is whole ends with the machine
	recorded := make(chan struct{})
	go func() {
		recorder.ended.Wait()
		close(recorded)
	}()
	select {
	case <-recorded:
	case <-ctx.Done():
		recorder.tell()
		<-recorded
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}

// live starts the services, and what comes now and then.
func (l *Life) live(ctx context.Context) {
	pause(ctx, settle)
	for _, m := range append(l.Profile.Services, Member{Name: runner, Limit: 400 * mebibyte, Arguments: []string{
		"service", "-resident", strconv.Itoa(16 * mebibyte), "-peak", strconv.Itoa(18 * mebibyte), "-share", "0.005", "-day", "5m",
	}}) {
		if ctx.Err() != nil {
			break
		}
		l.begin(m, m.Name)
		pause(ctx, l.draw(2*time.Second))
	}
	var lives sync.WaitGroup
	for _, come := range []struct {
		every time.Duration
		what  func(context.Context)
	}{
		{l.Profile.Build, l.build},
		{l.Profile.RunnerBuild, l.runnerBuild},
		{l.Profile.Backup, l.backup},
		{l.Profile.Restart, l.restart},
		{l.Profile.Deploy, l.deploy},
	} {
		if come.every > 0 {
			lives.Go(func() { l.arrive(ctx, come.every, come.what) })
		}
	}
	if l.Profile.Cron {
		lives.Go(func() { l.cron(ctx) })
	}
	lives.Wait()
}

// arrive does what as a Poisson process would, one at a time.
func (l *Life) arrive(ctx context.Context, every time.Duration, what func(context.Context)) {
	for {
		if pause(ctx, l.draw(every)); ctx.Err() != nil {
			return
		}
		what(ctx)
	}
}

// draw is a time that is mean on average, distributed exponentially.
func (l *Life) draw(mean time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.random.ExpFloat64() * float64(mean))
}

func (l *Life) number(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(n)
}

func (l *Life) seed() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strconv.FormatUint(l.random.Uint64(), 10)
}

func (l *Life) note(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) < 20 {
		l.errs = append(l.errs, err)
	}
}

// begin starts a service as unit name.
func (l *Life) begin(m Member, name string) *unit {
	u := &unit{dir: filepath.Join(root, "system.slice", name+".service"), limit: m.Limit}
	l.note(u.start(l.play(m.Arguments)...))
	l.mu.Lock()
	l.units[m.Name] = u
	l.mu.Unlock()
	return u
}

func (l *Life) play(arguments []string) []string {
	return append(append([]string{l.Self}, arguments...), "-seed", l.seed())
}

func (l *Life) unit(name string) *unit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.units[name]
}

// some returns a service that is deployed, or one that is not.
func (l *Life) some(deployed bool) (m Member, ok bool) {
	var those []Member
	for _, m := range l.Profile.Services {
		if m.Deployed == deployed {
			those = append(those, m)
		}
	}
	if len(those) == 0 {
		return m, false
	}
	return those[l.number(len(those))], true
}

// restart stops a service and starts it again, in a new cgroup under its name.
func (l *Life) restart(ctx context.Context) {
	m, ok := l.some(false)
	if !ok {
		return
	}
	l.note(l.unit(m.Name).stop())
	pause(ctx, l.draw(time.Second))
	l.begin(m, m.Name)
}

// deploy starts a new version beside the old, which it then replaces: for half a
// minute there are twice as many.
func (l *Life) deploy(ctx context.Context) {
	m, ok := l.some(true)
	if !ok {
		return
	}
	old := l.unit(m.Name)
	l.mu.Lock()
	l.serial++
	name := fmt.Sprintf("%s-v%d", m.Name, l.serial)
	l.mu.Unlock()
	l.begin(m, name)
	pause(ctx, 20*time.Second+l.draw(10*time.Second))
	l.note(old.stop())
}

// build builds in a scope of its own.
func (l *Life) build(context.Context) {
	l.mu.Lock()
	l.serial++
	u := &unit{dir: filepath.Join(root, "batch.slice", fmt.Sprintf("build-%d.scope", l.serial)), limit: 512 * mebibyte}
	l.mu.Unlock()
	l.note(u.start(l.building()...))
	l.note(u.wait())
}

// runnerBuild builds in the cgroup of the runner, which is always there and builds
// one thing at a time.
func (l *Life) runnerBuild(ctx context.Context) {
	done, err := l.unit(runner).run(l.building()...)
	if l.note(err); err != nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (l *Life) building() []string {
	return l.play([]string{"build", "-units", strconv.Itoa(20 + l.number(60)), "-jobs", strconv.Itoa(2 + l.number(3))})
}

// backup reads through a part of the disk.
func (l *Life) backup(context.Context) {
	u := &unit{dir: filepath.Join(root, "batch.slice/backup.service"), limit: int64(128+l.number(256)) * mebibyte}
	l.note(u.start(l.play([]string{"backup", "-bytes", strconv.Itoa((80 + l.number(300)) * mebibyte)})...))
	l.note(u.wait())
}

// cron starts a few jobs at the top of each minute.
func (l *Life) cron(ctx context.Context) {
	u := &unit{dir: filepath.Join(root, "system.slice/cron.service"), limit: 192 * mebibyte}
	l.note(u.start(l.play([]string{"service", "-resident", strconv.Itoa(4 * mebibyte), "-peak", strconv.Itoa(5 * mebibyte), "-share", "0.001", "-day", "5m"})...))
	l.mu.Lock()
	l.units["cron"] = u
	l.mu.Unlock()
	for {
		if pause(ctx, time.Until(time.Now().Truncate(time.Minute).Add(time.Minute))); ctx.Err() != nil {
			return
		}
		for range 2 + l.number(5) {
			_, err := u.run(l.play([]string{"job"})...)
			l.note(err)
			pause(ctx, l.draw(400*time.Millisecond))
		}
	}
}
