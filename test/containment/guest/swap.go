// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/containment"
)

// The header of a swap area (union swap_header in include/linux/swap.h): version
// and number of the last page at 1024, the magic at the end of the first page.
const (
	swapPage        = 4096
	swapMagic       = "SWAPSPACE2"
	swapInfo        = 1024
	leastSwapDevice = 64 << 20
)

// swapOn makes the swap device one and has the kernel use it.
func swapOn() error {
	f, err := os.OpenFile(containment.SwapDevice, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the swap device: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size < leastSwapDevice {
		return fmt.Errorf("the swap device has %d bytes: %w", size, errors.Join(err, os.ErrInvalid))
	}
	header := make([]byte, swapPage)
	binary.LittleEndian.PutUint32(header[swapInfo:], 1)
	binary.LittleEndian.PutUint32(header[swapInfo+4:], uint32(size/swapPage-1)) //nolint:gosec // a small disk
	copy(header[swapPage-len(swapMagic):], swapMagic)
	if _, err := f.WriteAt(header, 0); err != nil {
		return fmt.Errorf("write the swap header: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write the swap header: %w", err)
	}
	return swap(unix.SYS_SWAPON, "use")
}

// swapOff has the kernel bring back what it swapped out.
func swapOff() error { return swap(unix.SYS_SWAPOFF, "give up") }

func swap(call uintptr, what string) error {
	path, err := unix.BytePtrFromString(containment.SwapDevice)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(call, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		return fmt.Errorf("%s %s for swap: %w", what, containment.SwapDevice, errno)
	}
	return nil
}
