// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	// maxUnread bounds the memory of cgroups that could not be read. A guard that
	// cannot read more than that does not start.
	maxUnread = 1024
	// readAgainAtOnce bounds what one patrol looks at again.
	readAgainAtOnce = 16
)

// restoreLeftovers walks the tree and ends every lease it finds, of whichever
// guard and boot: its process is gone, so nobody renews it. What cannot be read
// now is left to later patrols.
func (g *Guard) restoreLeftovers() error {
	return g.root.WalkDirs(func(d *cgroupfs.Dir, _ uint64, path string) error {
		if err := g.leftovers(d, path); err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			if len(g.unread) >= maxUnread {
				return fmt.Errorf("more than %d cgroups cannot be read: %w", maxUnread, err)
			}
			g.unread[d.ID()] = Damage{Cgroup: d.ID(), Path: path, Cause: err.Error()}
			g.config.Logger.Error("cgroup cannot be read, trying again", "cgroup", path, "error", err)
		}
		return nil
	})
}

// leftovers ends what a former guard left on one cgroup. A cgroup that is gone
// took it along.
func (g *Guard) leftovers(d *cgroupfs.Dir, path string) error {
	var failed error
	for action := arc.NumActions - 1; action > arc.ActionNone; action-- { // cpu.idle before cpu.weight, which it covers
		k, known := g.knobs[action]
		key := leaseKey{d.ID(), action}
		if !known || g.find(key, false) != nil { // not left over: ours
			continue
		}
		text, err := d.Getxattr(recordName(action))
		if err == nil {
			err = g.adopt(key, k, path, text)
		}
		if err != nil && !errors.Is(err, cgroupfs.ErrNoAttribute) && !errors.Is(err, cgroupfs.ErrGone) {
			failed = errors.Join(failed, err)
		}
	}
	if n, err := g.lossesOf(d); err == nil && n > 0 {
		g.mu.Lock()
		g.losses[d.ID()] = n
		g.mu.Unlock()
	}
	return failed
}

// adopt ends the lease that a record tells of. Its error is that it could not.
func (g *Guard) adopt(key leaseKey, k knob, path string, text []byte) error {
	r, err := decodeRecord(k, text)
	if err != nil {
		g.mu.Lock()
		g.damage[key] = Damage{Cgroup: key.cgroup, Path: path, Knob: key.action.String(), Cause: err.Error()}
		g.mu.Unlock()
		g.config.Logger.Error("lease record cannot be read, knob left alone", "cgroup", path, "knob", key.action.String(), "error", err)
		return nil
	}
	l := &lease{key: key, device: r.Device, path: path, knob: k, record: r, value: uint64(r.High), mu: g.mutexFor(key)}
	if !l.mu.TryLock() {
		return errors.New("a coupled knob is being written to")
	}
	defer l.mu.Unlock()
	if l.dir, err = g.root.Open(key.cgroup); err != nil {
		return err
	}
	g.enter(l)
	if err := g.finish(l, "left by a former guard"); err != nil {
		g.config.Logger.Error("lease of a former guard", "error", err)
	}
	return nil
}

// retry looks again at some cgroups that could not be read. While a grant is
// under way it waits for the next patrol: a record must not be taken for left
// over because its lease is only just being made.
func (g *Guard) retry() {
	if !g.granting.TryLock() {
		return
	}
	defer g.granting.Unlock()
	if !g.stopping() {
		g.readAgain(readAgainAtOnce)
	}
}

// readAgain looks at up to n cgroups. The caller holds g.granting.
func (g *Guard) readAgain(n int) {
	g.mu.Lock()
	var some []Damage
	for _, u := range g.unread {
		if len(some) == n {
			break
		}
		some = append(some, u)
	}
	g.mu.Unlock()
	for _, u := range some {
		d, err := g.root.Open(u.Cgroup)
		if err == nil {
			err = g.leftovers(d, u.Path)
			d.Close()
		}
		if err == nil || errors.Is(err, cgroupfs.ErrGone) {
			g.mu.Lock()
			delete(g.unread, u.Cgroup)
			g.mu.Unlock()
		}
	}
}

// unreadAt tells whether a cgroup could not be looked at yet, and why.
func (g *Guard) unreadAt(cgroup uint64) (u Damage, unread bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, unread = g.unread[cgroup]
	return u, unread
}

// unreadable is the error of a guard that ends without having read everything.
func (g *Guard) unreadable() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range g.unread {
		return fmt.Errorf("%d cgroups could not be read and may still be held, one is %s: %s", len(g.unread), u.Path, u.Cause)
	}
	return nil
}
