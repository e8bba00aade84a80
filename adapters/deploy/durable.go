package deploy

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncFileSystem makes all of the file system that holds a folder durable. The fsync of single files and
// folders is not enough: content that was written and renamed may still be empty after a power cut.
func syncFileSystem(folder string) error {
	file, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", folder, err)
	}
	defer file.Close()
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return fmt.Errorf("syncing the file system of %s: %w", folder, err)
	}
	return nil
}
