// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package wake

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// trigger is a PSI trigger as the kernel takes it
// (Documentation/accounting/psi.rst).
type trigger struct {
	cause Cause
	file  string
	kind  string
	stall time.Duration // within window
}

var triggers = [...]trigger{
	{CPUStall, "cpu", "some", cpuStall},
	{MemoryStall, "memory", "some", memoryStall},
	{IOStall, "io", "full", ioStall},
}

// unprivilegedWindow is the window that Linux (from 6.4) grants to anybody: it
// is as long as the kernel's own rhythm of adding up stalls.
const unprivilegedWindow = 2 * time.Second

// Triggers are PSI triggers that are asked and not waited for. A nil pointer is
// no triggers.
type Triggers struct {
	// Plain descriptors: of an os.File the runtime would poll, too, and a poll
	// takes what has triggered away.
	polled []unix.PollFd
	causes []Cause
}

// OpenTriggers sets the triggers of the pressure files in directory,
// "/proc/pressure". It returns those that could be set, and an error that tells
// what kept the others out; nil and an error if there are none.
func OpenTriggers(directory string) (*Triggers, error) {
	t := &Triggers{}
	var errs []error
	for _, one := range triggers {
		if err := t.set(directory, one); err != nil {
			errs = append(errs, err)
		}
	}
	if len(t.polled) == 0 {
		t = nil
	}
	return t, errors.Join(errs...)
}

// set asks for the short window, which takes CAP_SYS_RESOURCE, and if that is
// refused for the one that does not.
func (t *Triggers) set(directory string, one trigger) error {
	path := filepath.Join(directory, one.file)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set a PSI trigger: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	if one.write(fd, window) != nil {
		err = one.write(fd, unprivilegedWindow)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("set a PSI trigger: %w", &os.PathError{Op: "write", Path: path, Err: err}), unix.Close(fd))
	}
	t.polled = append(t.polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLPRI})
	t.causes = append(t.causes, one.cause)
	return nil
}

// write sets the trigger for the same share of a window of length.
func (one trigger) write(fd int, length time.Duration) error {
	stall := one.stall * length / window
	_, err := unix.Write(fd, fmt.Appendf(nil, "%s %d %d\x00", one.kind, stall.Microseconds(), length.Microseconds()))
	return err
}

// armed says whether there is a trigger for c.
func (t *Triggers) armed(c Cause) bool {
	if t == nil {
		return false
	}
	for _, have := range t.causes {
		if have == c {
			return true
		}
	}
	return false
}

// fired returns what has triggered since it was last asked. It does not wait.
func (t *Triggers) fired() (causes Causes) {
	if t == nil {
		return 0
	}
	if n, err := unix.Poll(t.polled, 0); err != nil || n == 0 {
		return 0 // interrupted: the kernel keeps what has triggered
	}
	for i := range t.polled {
		// An error (POLLERR) would be there at every look; it is no cause.
		if t.polled[i].Revents&(unix.POLLPRI|unix.POLLERR) == unix.POLLPRI {
			causes = causes.With(t.causes[i])
		}
	}
	return causes
}

// Close removes the triggers. It may be called more than once.
func (t *Triggers) Close() error {
	if t == nil {
		return nil
	}
	var errs []error
	for _, p := range t.polled {
		errs = append(errs, unix.Close(int(p.Fd)))
	}
	*t = Triggers{}
	return errors.Join(errs...)
}
