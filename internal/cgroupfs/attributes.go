// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNoAttribute says that a cgroup does not carry an extended attribute.
var ErrNoAttribute = errors.New("no such extended attribute")

// Attributes is where the extended attributes of cgroups are kept. Names are
// whole, with their namespace ("trusted.reflex..."). Get of an attribute that
// is not there wraps [ErrNoAttribute]; Remove of one is no error.
type Attributes interface {
	Get(fd int, id uint64, name string) ([]byte, error)
	Set(fd int, id uint64, name string, value []byte) error
	Remove(fd int, id uint64, name string) error
}

// Getxattr returns an extended attribute of the cgroup.
func (d *Dir) Getxattr(name string) ([]byte, error) {
	if err := d.before("get attribute", name); err != nil {
		return nil, err
	}
	v, err := d.attrs.Get(d.fd, d.id, name)
	if err != nil {
		return nil, d.wrap("get attribute", name, err)
	}
	return v, nil
}

// Setxattr sets an extended attribute of the cgroup.
func (d *Dir) Setxattr(name string, value []byte) error {
	if err := d.before("set attribute", name); err != nil {
		return err
	}
	if err := d.attrs.Set(d.fd, d.id, name, value); err != nil {
		return d.wrap("set attribute", name, err)
	}
	return nil
}

// Removexattr removes an extended attribute of the cgroup, if it is there.
func (d *Dir) Removexattr(name string) error {
	if err := d.before("remove attribute", name); err != nil {
		return err
	}
	if err := d.attrs.Remove(d.fd, d.id, name); err != nil {
		return d.wrap("remove attribute", name, err)
	}
	return nil
}

// Kernel keeps attributes on the directories themselves. The trusted namespace
// needs CAP_SYS_ADMIN, so nobody with less can forge or remove what is in it.
// Substitute, if set, replaces the "trusted" namespace, for trees in tests.
type Kernel struct{ Substitute string }

func (k Kernel) name(name string) string {
	if rest, ok := strings.CutPrefix(name, "trusted."); ok && k.Substitute != "" {
		return k.Substitute + "." + rest
	}
	return name
}

// Get implements [Attributes].
func (k Kernel) Get(fd int, _ uint64, name string) ([]byte, error) {
	name = k.name(name)
	buf := make([]byte, 1024)
	for {
		n, err := unix.Fgetxattr(fd, name, buf)
		switch {
		case errors.Is(err, unix.ENODATA):
			return nil, ErrNoAttribute
		case errors.Is(err, unix.ERANGE) && len(buf) < 1<<16:
			buf = make([]byte, 1<<16)
		case err != nil:
			return nil, err
		default:
			return buf[:n], nil
		}
	}
}

// Set implements [Attributes].
func (k Kernel) Set(fd int, _ uint64, name string, value []byte) error {
	return unix.Fsetxattr(fd, k.name(name), value, 0)
}

// Remove implements [Attributes].
func (k Kernel) Remove(fd int, _ uint64, name string) error {
	err := unix.Fremovexattr(fd, k.name(name))
	if errors.Is(err, unix.ENODATA) {
		return nil
	}
	return err
}

// Memory keeps attributes in the process, by cgroup id: for tests. Like the
// kernel it loses nothing when a Root is closed, so several roots may share it.
type Memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *Memory) key(id uint64, name string) string { return fmt.Sprintf("%d %s", id, name) }

// Get implements [Attributes].
func (m *Memory) Get(_ int, id uint64, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[m.key(id, name)]
	if !ok {
		return nil, ErrNoAttribute
	}
	return append([]byte(nil), v...), nil
}

// Set implements [Attributes].
func (m *Memory) Set(_ int, id uint64, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string][]byte{}
	}
	m.values[m.key(id, name)] = append([]byte(nil), value...)
	return nil
}

// Remove implements [Attributes].
func (m *Memory) Remove(_ int, id uint64, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, m.key(id, name))
	return nil
}

// OfProcess returns the cgroup v2 path of a process as /proc shows it: relative
// to the reader's cgroup namespace, which need not be a [Root]'s.
func OfProcess(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("read cgroup of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(p, "\n"), nil
		}
	}
	return "", fmt.Errorf("process %d is in no cgroup v2", pid)
}
