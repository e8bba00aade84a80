package deploy

import (
	"fmt"

	"elemental/core"
)

// Budget is what an image may cost at most. It stops bombs, and nothing that is a real system.
type Budget struct {
	Entries int   // in all layers together, with the folders that their names imply
	Bytes   int64 // of all files in all layers together, unpacked, with their holes and with links that may become copies
	Ratio   int64 // unpacked bytes, holes too, for each compressed one, of a layer that unpacks to more than Small
	Small   int64 // bytes that a layer may unpack to whatever its ratio: a few zeros do no harm
	Depth   int   // folders above an entry
	Record  int64 // bytes of names, links and attributes of all layers together: these are held in memory
}

// DefaultBudget is several times what the largest real systems need.
func DefaultBudget() Budget {
	return Budget{Entries: 500_000, Bytes: 64 << 30, Ratio: 200, Small: 64 << 20, Depth: 128, Record: 64 << 20}
}

// badImage is what an image that nobody should run is refused with.
func badImage(reason, format string, args ...any) error {
	return core.Failure{Class: core.FailureInvalid, Reason: reason, Message: fmt.Sprintf(format, args...), Path: imagePath}
}

// tooMany is the refusal of an image for its entries.
func tooMany(entries int) error {
	return badImage(ReasonTooBig, "the image has more than %d entries", entries)
}

// tooLarge is the refusal of an image for its files.
func tooLarge(size int64) error {
	return badImage(ReasonTooBig, "the image unpacks to more than %d bytes", size)
}

// tooDeep is the refusal of an image for where one of its names leads.
func tooDeep(at string, depth int) error {
	return badImage(ReasonTooBig, "the name %.80q… is more than %d folders deep", at, depth)
}

// imagePath is the field of a request that names the image.
const imagePath = "osVersion.imageUri"

// The reasons of refusing an image.
const (
	ReasonTooBig     = "ImageTooBig"
	ReasonBadLayer   = "MalformedLayer"
	ReasonNoInit     = "NoInit"
	ReasonNoKernel   = "NoKernel"
	ReasonBadDigest  = "DigestMismatch"
	ReasonDiskFull   = "DiskTooSmall"
	ReasonNotBooted  = "NotADeployment"
	ReasonOnTrial    = "Unconfirmed"
	ReasonUnhealthy  = "HealthCheckFailed"
	ReasonNoPrevious = "NoPreviousDeployment"
)
