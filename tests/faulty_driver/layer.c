// A Vulkan layer that makes a driver fail on demand. Tests only: `tests/faulty_driver/main.rs` builds it and says when.
//
// The file that SOFTADAPT_FAULTS names holds lines of a fault's name and a number; it is read at every call that can fail, so
// that a test starts and stops faults while its device lives. Every fault that was made is noted in a file of that name with
// ".log" behind it, so that a test can tell that it saw one.
//
//   lose_at_submit 1   vkQueueSubmit says that the device is lost, and from then on everything does
//   lose_at_wait 1     the same of waiting for a semaphore or a fence, and of asking a semaphore for its value
//   time_out 1         waiting for a semaphore or a fence ends at once without a result
//   skip_submit 1      vkQueueSubmit does nothing of what it was given, and says that it did
//   skip_dispatch 1    vkCmdDispatch records nothing
//   oom_above N        allocations of more than N bytes fail
//   oom_budget N       allocations fail that would take all that live beyond N bytes
//   oom_pipeline 1     compute pipelines find no memory
//   no_device 1        vkCreateDevice fails

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))

// The number of a fault in the file, 0 if it does not stand there.
static unsigned long long fault(const char *name) {
    const char *path = getenv("SOFTADAPT_FAULTS");
    FILE *file = path ? fopen(path, "r") : NULL;
    unsigned long long value = 0;
    char line[128], word[64];
    while (file && fgets(line, sizeof line, file)) {
        unsigned long long number = 0;
        if (sscanf(line, "%63s %llu", word, &number) == 2 && strcmp(word, name) == 0) value = number;
    }
    if (file) fclose(file);
    return value;
}

static void note(const char *name) {
    const char *path = getenv("SOFTADAPT_FAULTS");
    char log[4096];
    snprintf(log, sizeof log, "%s.log", path ? path : "");
    FILE *file = path ? fopen(log, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s\n", name);
    fclose(file);
}

// What the layer knows of an instance or device; the objects of one share the first word of what their handles point to.
typedef struct {
    void *key;
    VkInstance instance;
    PFN_vkGetInstanceProcAddr instance_next;
    PFN_vkGetDeviceProcAddr device_next;
    VkDevice device;
    int lost;
} Known;

static Known known[256];
static int known_count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *key_of(void *handle) { return *(void **)handle; }

// The newest one first: keys of destroyed devices come again.
static Known *find(void *handle) {
    pthread_mutex_lock(&mutex);
    Known *found = NULL;
    for (int i = known_count - 1; i >= 0 && !found; i--)
        if (known[i].key == key_of(handle)) found = &known[i];
    pthread_mutex_unlock(&mutex);
    return found;
}

static void remember(Known new_one) {
    pthread_mutex_lock(&mutex);
    if (known_count == sizeof known / sizeof *known) abort();
    known[known_count++] = new_one;
    pthread_mutex_unlock(&mutex);
}

// The next layer's, or the driver's, function of a device.
#define NEXT(handle, name) ((PFN_##name)find(handle)->device_next(find(handle)->device, #name))

static int lose(void *handle, const char *name) {
    Known *device = find(handle);
    if (!device->lost && fault(name)) {
        note(name);
        device->lost = 1;
    }
    return device->lost;
}

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkQueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo *submits, VkFence fence) {
    if (lose(queue, "lose_at_submit")) return VK_ERROR_DEVICE_LOST;
    if (count > 0 && fault("skip_submit")) {
        note("skip_submit");
        VkSubmitInfo *empty = malloc(count * sizeof *empty);
        memcpy(empty, submits, count * sizeof *empty);
        // Semaphores and fences are signalled all the same.
        for (uint32_t i = 0; i < count; i++) empty[i].commandBufferCount = 0;
        VkResult result = NEXT(queue, vkQueueSubmit)(queue, count, empty, fence);
        free(empty);
        return result;
    }
    return NEXT(queue, vkQueueSubmit)(queue, count, submits, fence);
}

static VKAPI_ATTR void VKAPI_CALL layer_vkCmdDispatch(VkCommandBuffer buffer, uint32_t x, uint32_t y, uint32_t z) {
    if (fault("skip_dispatch")) {
        note("skip_dispatch");
        return;
    }
    NEXT(buffer, vkCmdDispatch)(buffer, x, y, z);
}

// The memory that lives, and its sizes.
static VkDeviceMemory memories[4096];
static unsigned long long memory_sizes[4096];
static unsigned long long memory_total;

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkAllocateMemory(VkDevice device, const VkMemoryAllocateInfo *info, const VkAllocationCallbacks *callbacks, VkDeviceMemory *memory) {
    unsigned long long size = info->allocationSize, most = fault("oom_above"), budget = fault("oom_budget");
    pthread_mutex_lock(&mutex);
    const char *broken = most > 0 && size > most ? "oom_above" : budget > 0 && memory_total + size > budget ? "oom_budget" : NULL;
    pthread_mutex_unlock(&mutex);
    if (broken) {
        note(broken);
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    VkResult result = NEXT(device, vkAllocateMemory)(device, info, callbacks, memory);
    if (result != VK_SUCCESS) return result;
    pthread_mutex_lock(&mutex);
    int free_place = 0;
    while (free_place < 4096 && memory_sizes[free_place] > 0) free_place++;
    if (free_place == 4096) abort();
    memories[free_place] = *memory;
    memory_sizes[free_place] = size;
    memory_total += size;
    pthread_mutex_unlock(&mutex);
    return result;
}

static VKAPI_ATTR void VKAPI_CALL layer_vkFreeMemory(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks *callbacks) {
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < 4096; i++)
        if (memory_sizes[i] > 0 && memories[i] == memory) {
            memory_total -= memory_sizes[i];
            memory_sizes[i] = 0;
        }
    pthread_mutex_unlock(&mutex);
    NEXT(device, vkFreeMemory)(device, memory, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkCreateComputePipelines(VkDevice device, VkPipelineCache cache, uint32_t count, const VkComputePipelineCreateInfo *infos, const VkAllocationCallbacks *callbacks, VkPipeline *pipelines) {
    if (fault("oom_pipeline")) {
        note("oom_pipeline");
        for (uint32_t i = 0; i < count; i++) pipelines[i] = VK_NULL_HANDLE;
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    return NEXT(device, vkCreateComputePipelines)(device, cache, count, infos, callbacks, pipelines);
}

// Waits end without a result, or lose the device.
#define FAIL_WAIT(device)                                                       \
    do {                                                                        \
        if (lose(device, "lose_at_wait")) return VK_ERROR_DEVICE_LOST;          \
        if (fault("time_out")) {                                                \
            note("time_out");                                                   \
            return VK_TIMEOUT;                                                  \
        }                                                                       \
    } while (0)

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkWaitForFences(VkDevice device, uint32_t count, const VkFence *fences, VkBool32 all, uint64_t timeout) {
    FAIL_WAIT(device);
    return NEXT(device, vkWaitForFences)(device, count, fences, all, timeout);
}

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkWaitSemaphores(VkDevice device, const VkSemaphoreWaitInfo *info, uint64_t timeout) {
    FAIL_WAIT(device);
    return NEXT(device, vkWaitSemaphores)(device, info, timeout);
}

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkWaitSemaphoresKHR(VkDevice device, const VkSemaphoreWaitInfo *info, uint64_t timeout) {
    FAIL_WAIT(device);
    return NEXT(device, vkWaitSemaphoresKHR)(device, info, timeout);
}

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkGetSemaphoreCounterValue(VkDevice device, VkSemaphore semaphore, uint64_t *value) {
    if (lose(device, "lose_at_wait")) return VK_ERROR_DEVICE_LOST;
    // Otherwise nobody would have to wait.
    if (fault("time_out")) {
        *value = 0;
        return VK_SUCCESS;
    }
    return NEXT(device, vkGetSemaphoreCounterValue)(device, semaphore, value);
}

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkGetSemaphoreCounterValueKHR(VkDevice device, VkSemaphore semaphore, uint64_t *value) {
    if (lose(device, "lose_at_wait")) return VK_ERROR_DEVICE_LOST;
    if (fault("time_out")) {
        *value = 0;
        return VK_SUCCESS;
    }
    return NEXT(device, vkGetSemaphoreCounterValueKHR)(device, semaphore, value);
}

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkCreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *callbacks, VkDevice *device) {
    if (fault("no_device")) {
        note("no_device");
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerDeviceCreateInfo *)link->pNext;
    if (!link) return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetInstanceProcAddr instance_next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    PFN_vkGetDeviceProcAddr device_next = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    // A physical device has its instance's first word.
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)instance_next(find(physical)->instance, "vkCreateDevice");
    VkResult result = create(physical, info, callbacks, device);
    if (result == VK_SUCCESS) {
        Known device_known = {key_of(*device), NULL, instance_next, device_next, *device, 0};
        remember(device_known);
    }
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL layer_vkCreateInstance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *callbacks, VkInstance *instance) {
    VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerInstanceCreateInfo *)link->pNext;
    if (!link) return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetInstanceProcAddr next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)next(NULL, "vkCreateInstance");
    VkResult result = create(info, callbacks, instance);
    if (result == VK_SUCCESS) {
        Known instance_known = {key_of(*instance), *instance, next, NULL, VK_NULL_HANDLE, 0};
        remember(instance_known);
    }
    return result;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL softadapt_GetInstanceProcAddr(VkInstance instance, const char *name);
EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL softadapt_GetDeviceProcAddr(VkDevice device, const char *name);

#define OURS(function) {#function, (PFN_vkVoidFunction)layer_##function}
static const struct {
    const char *name;
    PFN_vkVoidFunction function;
} device_functions[] = {
    OURS(vkQueueSubmit),   OURS(vkCmdDispatch),         OURS(vkAllocateMemory),           OURS(vkCreateComputePipelines),
    OURS(vkWaitForFences), OURS(vkWaitSemaphores),      OURS(vkWaitSemaphoresKHR),        OURS(vkGetSemaphoreCounterValue),
    OURS(vkGetSemaphoreCounterValueKHR), OURS(vkFreeMemory),
};

static PFN_vkVoidFunction device_function(const char *name) {
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) return (PFN_vkVoidFunction)softadapt_GetDeviceProcAddr;
    for (size_t i = 0; i < sizeof device_functions / sizeof *device_functions; i++)
        if (strcmp(name, device_functions[i].name) == 0) return device_functions[i].function;
    return NULL;
}

PFN_vkVoidFunction VKAPI_CALL softadapt_GetDeviceProcAddr(VkDevice device, const char *name) {
    PFN_vkVoidFunction next = find(device)->device_next(device, name);
    PFN_vkVoidFunction own = device_function(name);
    // What the driver does not have, the layer does not either.
    return own && (next || strcmp(name, "vkGetDeviceProcAddr") == 0) ? own : next;
}

PFN_vkVoidFunction VKAPI_CALL softadapt_GetInstanceProcAddr(VkInstance instance, const char *name) {
    if (strcmp(name, "vkGetInstanceProcAddr") == 0) return (PFN_vkVoidFunction)softadapt_GetInstanceProcAddr;
    if (strcmp(name, "vkCreateInstance") == 0) return (PFN_vkVoidFunction)layer_vkCreateInstance;
    if (strcmp(name, "vkCreateDevice") == 0) return (PFN_vkVoidFunction)layer_vkCreateDevice;
    PFN_vkVoidFunction own = device_function(name);
    if (own) return own;
    return instance ? find(instance)->instance_next(instance, name) : NULL;
}
